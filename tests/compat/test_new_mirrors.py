# SPDX-License-Identifier: GPL-3.0-or-later
"""The first document of a mirror: believed before there is a repository, or there is none."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from keys import NOW_S, Keys, shared_keys
from waiting import WAIT_S

from gtfs.catalogue.accept import NotSigned, WrongRepository, WrongSigner
from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.feed import parse_feed
from gtfs.ids import SHA1, SHA256, Fingerprint
from gtfs.node.follow import Follower
from gtfs.node.opening import open_source
from gtfs.node.options import NodeOptions
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.repo.repository import create_repository
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.source import Source
from gtfs.state.state import State
from gtfs.state.trustgiven import Confirm, TrustGiven


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def open_mirror(document: bytes, given: TrustGiven, tmp_path: Path) -> tuple[str, frozenset[str]]:
    """The format of the repository that was made, and the keys of its ring."""
    feed = tmp_path / "feed.asc"
    feed.write_bytes(document)
    source = Source(str(feed), tmp_path / "m.git", parse_feed(str(feed)))

    async def work() -> tuple[str, frozenset[str]]:
        async with open_source(source, given, NodeOptions(offline=True)) as node:
            assert node.state.keyring is not None and node.state.held is not None
            return node.state.repository.fmt.name, frozenset(node.state.keyring.primaries)

    return trio.run(work)


def text(keys: Keys, **changes: object) -> bytes:
    plain = Catalogue("demo", 1, None, NOW_S, NOW_S + 9999, (keys["alice"],))
    return dataclasses.replace(plain, **changes).to_text().encode()  # type: ignore[arg-type]


def test_a_mirror_has_the_hash_that_a_believed_catalogue_says(keys: Keys, tmp_path: Path) -> None:
    given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]])
    document = keys.clearsign(text(keys, object_format=SHA256), "alice")
    assert open_mirror(document, given, tmp_path) == ("sha256", keys.ring.primaries)


def test_whoever_is_asked_about_the_first_signer_is_asked_once(keys: Keys, tmp_path: Path) -> None:
    asked = []

    def answer(yes: bool) -> Confirm:
        def confirm(catalogue: Catalogue, people: Sequence[tuple[Fingerprint, Sequence[str]]]) -> bool:
            asked.append([fingerprint for fingerprint, _ in people])
            return yes

        return confirm

    document = keys.clearsign(text(keys), "alice")
    with pytest.raises(WrongSigner):
        open_mirror(document, TrustGiven(gnupg_home=keys.home, confirm=answer(False)), tmp_path)
    assert not (tmp_path / "m.git").exists()
    found = open_mirror(document, TrustGiven(gnupg_home=keys.home, confirm=answer(True)), tmp_path)
    assert found == ("sha1", {keys["alice"]})
    assert asked == [[keys["alice"]]] * 2


def test_a_document_that_is_not_believed_makes_no_repository(keys: Keys, tmp_path: Path) -> None:
    given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]])
    for document, error in (
        (text(keys), NotSigned),
        (keys.clearsign(text(keys), "mallory"), WrongSigner),
        (keys.clearsign(text(keys).replace(b"Object-Format: sha1", b"Object-Format: md5"), "alice"), BadCatalogue),
        (keys.clearsign(b"Object-Format: sha256\n", "mallory"), WrongSigner),
    ):
        with pytest.raises(error):
            open_mirror(document, given, tmp_path)
        assert not (tmp_path / "m.git").exists()


COMMIT = b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 0\nM 644 inline f\ndata 2\nf\n"


def test_reels_of_a_clone_are_made_of_what_git_has_before_the_swarm_is_asked_for_them(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create_repository(tmp_path / "pub.git", SHA1)
    subprocess.run(["git", "-C", repository.path, "fast-import", "--quiet"], input=COMMIT, check=True)
    with State(repository) as state:
        initialise(state, "demo", keys["alice"], str(keys.home))
        publish_now(state)
    feed = repository.path / "gtfs" / "catalogue" / "latest.asc"
    subprocess.run(["git", "clone", "--quiet", "--mirror", repository.path, tmp_path / "m.git"], check=True)
    done: list[str] = []
    guessed = trio.Event()
    update, guess = ReelTorrents.update, Follower._guess

    async def joins(reel_torrents: ReelTorrents) -> None:
        done.append("joins")
        await update(reel_torrents)

    def guesses(follower: Follower) -> object:
        done.append("guesses")
        trio.from_thread.run_sync(guessed.set)
        return guess(follower)

    async def work() -> None:
        source = Source(str(feed), tmp_path / "m.git", parse_feed(str(feed)))
        given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]])
        async with open_source(source, given, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            await node.take_up()
            monkeypatch.setattr(ReelTorrents, "update", joins)
            monkeypatch.setattr(Follower, "_guess", guesses)
            await nursery.start(node.run_task)
            with trio.fail_after(WAIT_S):
                await guessed.wait()
            nursery.cancel_scope.cancel()

    trio.run(work)
    assert done[0] == "guesses"


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("by", ["address", "list"])
def test_the_first_catalogue_by_an_address_or_a_lists_line_has_to_be_of_its_id_though_one_key_signs_both(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, is_there: bool
) -> None:
    given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]], repository="demo" if by == "list" else None)
    address = f"gtfs:{'ab' * 32}" + ("/demo" if by == "address" else "")
    source = Source(address, tmp_path / "m.git", parse_feed(address))
    if is_there:
        create_repository(source.repository, SHA1)

    async def open_with(name: str) -> str:
        async def found(*_: object) -> bytes:
            await trio.lowlevel.checkpoint()
            return keys.clearsign(text(keys, repository=name), "alice")

        monkeypatch.setattr("gtfs.node.opening.first_document", found)
        async with open_source(source, given, NodeOptions(offline=True)) as node:
            assert node.state.held is not None
            return node.state.held.catalogue.repository

    with pytest.raises(WrongRepository, match="it is of other, not of demo"):
        trio.run(open_with, "other")
    assert source.repository.exists() == is_there
    assert trio.run(open_with, "demo") == "demo"
