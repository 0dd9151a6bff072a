# SPDX-License-Identifier: GPL-3.0-or-later
"""What is synced is lost with the names that lead to it, if these are not: no file system owes more than was asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from collecting import ListPublisher, follower
from keys import shared_keys
from onefile import Publisher

from gtfs.collection.believed import BelievedCollection
from gtfs.collection.document import Signing
from gtfs.collection.followed import GoneRepository
from gtfs.collection.places import CollectionPlaces
from gtfs.collection.publisher import PublisherSettings, init_collection
from gtfs.durable import make_directory
from gtfs.ids import SHA1
from gtfs.layout import Layout
from gtfs.repo.pushes import refuse_pushes
from gtfs.repo.repository import create_repository
from gtfs.state.config import Config
from gtfs.state.otherstates import set_aside
from gtfs.state.private import make_private
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven

SOURCE = "https://example.org/latest.asc"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was synced, in order, by the name that it had then."""
    found: list[Path] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        found.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def test_a_directory_is_made_with_what_leads_there(tmp_path: Path, synced: list[Path]) -> None:
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "link")


def test_all_that_leads_to_a_first_catalogue_and_to_keys_is_durable(tmp_path: Path, synced: list[Path]) -> None:
    publisher = Publisher(tmp_path)
    with State(publisher.repository) as state:
        publisher.publish(state)
    layout = publisher.repository.layout
    assert layout.bell_key.exists() and layout.latest.exists()
    # A new name is in the directory that is named here.
    assert {publisher.repository.path, layout.root, layout.catalogue, layout.keys} <= set(synced)
    assert synced.index(layout.root) < synced.index(layout.catalogue)


def test_a_state_that_makes_room_is_durable_in_its_new_place_first(tmp_path: Path, synced: list[Path]) -> None:
    clone = create_repository(tmp_path / "clone.git", SHA1)
    make_private(clone.layout.root)
    Config(clone).set("clone", "true")
    Config(clone).set("source", SOURCE)
    synced.clear()
    set_aside(clone, ["A" * 40])
    place = next((clone.path / "gtfs-publishers").glob("*.git"))
    assert synced[-2:] == [place, clone.path]
    assert (place / "gtfs" / "config").exists() and not clone.layout.root.exists()


def test_all_that_leads_to_what_a_follower_of_a_collection_keeps_is_durable(tmp_path: Path, synced: list[Path]) -> None:
    keys = shared_keys()
    root, mirrors = tmp_path / "data" / "collections" / "kernel", tmp_path / "mirrors"
    publisher = ListPublisher(keys)
    collection = follower(tmp_path, keys, root=root, gone="move")
    collection.take(publisher.sign(publisher.first("a")))
    assert {tmp_path, tmp_path / "data", tmp_path / "data" / "collections"} <= set(synced)
    shutil.rmtree(root / "rings")
    synced.clear()
    believed = BelievedCollection(CollectionPlaces(root), "kernel", TrustGiven())
    assert believed.ring_of(Signing((keys["bob"],))).keyring is not None and synced[0] == root
    create_repository(mirrors / "a.git", SHA1)
    make_private(Layout.in_repository(mirrors / "a.git").root)
    synced.clear()
    collection._put_away(GoneRepository("a", mirrors / "a.git", 7))
    assert mirrors / ".gone" in synced and synced.index(mirrors) < synced.index(mirrors / ".gone")


def test_the_directory_of_a_publishers_collection_is_durable(tmp_path: Path, synced: list[Path]) -> None:
    keys = shared_keys()
    init_collection(tmp_path, PublisherSettings("kernel", keys["alice"], str(keys.home)))
    assert synced.index(tmp_path) < synced.index(tmp_path / ".gtfs-collection")


@pytest.mark.parametrize("left", [b"", bytes(700)], ids=["empty", "zeros"])
def test_a_hook_that_a_power_cut_left_empty_is_nobodys(tmp_path: Path, left: bytes) -> None:
    repository = create_repository(tmp_path / "mirror.git", SHA1)
    make_private(repository.layout.root)
    hook = repository.layout.git_hooks / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_bytes(left)
    refuse_pushes(repository, [b"refs/heads/main"], SOURCE, None)
    assert hook.read_bytes().startswith(b"#!/bin/sh\n# Made by gtfs") and os.access(hook, os.X_OK)
    for own in ("file", "link"):  # is somebody's
        hook.unlink()
        if own == "file":
            hook.write_bytes(b"#!/bin/sh\n")
        else:
            hook.symlink_to("nowhere")
        refuse_pushes(repository, [b"refs/heads/main"], SOURCE, None)
        assert hook.is_symlink() if own == "link" else hook.read_bytes() == b"#!/bin/sh\n"


def test_the_hook_that_refuses_pushes_is_whole_before_it_is_there(tmp_path: Path, synced: list[Path]) -> None:
    repository = create_repository(tmp_path / "mirror.git", SHA1)
    make_private(repository.layout.root)
    refuse_pushes(repository, [b"refs/heads/main"], SOURCE, None)
    assert (repository.layout.git_hooks / "update").exists()
    assert synced[-2:] == [repository.layout.git_hooks / ".gtfs-update", repository.layout.git_hooks]
