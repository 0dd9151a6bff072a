# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that a daemon publishes: what is made ready in it, what is left alone, and when its list says more."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from collecting import publish_repository
from keys import Keys, shared_keys

from gtfs.collection.found import Lines
from gtfs.collection.places import CollectionPlaces
from gtfs.collection.publisher import (
    ListBusy,
    LosesMany,
    PublisherSettings,
    default_feeds,
    held_collection,
    init_collection,
    publish_collection,
)
from gtfs.collection.ready import id_of
from gtfs.collection.site import PublishedSite, PublishSettings
from gtfs.ids import SHA1
from gtfs.repo.repository import Repository
from gtfs.state.config import Config
from gtfs.state.lock import Lock
from gtfs.state.publish import publish_now
from gtfs.state.state import State

URL = "https://h/git"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def top(tmp_path: Path, keys: Keys) -> Path:
    directory = tmp_path / "git"
    directory.mkdir()
    init_collection(directory, settings(keys, directory))
    return directory


def settings(keys: Keys, directory: Path, **each: object) -> PublisherSettings:
    said = {"publish": "auto", "web_seeds": [f"{URL}/{{}}/gtfs/reels"], **each}
    return PublisherSettings(
        "list", keys["alice"], str(keys.home), default_feeds(directory, URL), repositories=said
    )  # fmt: skip


def make(path: Path, *, commits: bool = True) -> Path:
    """A bare repository, as git makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
    if commits:
        commit(path)
    return path


def commit(path: Path) -> None:
    script = b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 1\nx\n"
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input=script, check=True)


def site_of(top: Path) -> PublishedSite:
    return PublishedSite(PublishSettings("list", top, ("poll=7",)))


def look(site: PublishedSite) -> list[str]:
    """One look, and all that is new made ready: the names that run."""
    site.look()
    site.take_in(site.new(), makes=True)
    return [wanted.name.removeprefix("list/") for wanted in site.wanted()]


def publish(top: Path, name: str) -> None:
    with State(Repository(top / name, SHA1)) as state:
        publish_now(state)


def test_what_is_nobodys_becomes_a_publishers_with_the_settings_of_its_collection(top: Path, keys: Keys) -> None:
    make(top / "0.git")
    make(top / "pub" / "b c.git")
    site = site_of(top)
    assert look(site) == ["0.git", "pub/b c.git"]
    config = Config(Repository(top / "pub" / "b c.git", SHA1))
    assert config.publish_mode() == "auto" and config.sign_key() == keys["alice"]
    assert config.get("name") == id_of("list", "pub/b c.git") and config.gnupg_home() == keys.home
    assert config.get_all("webseed") == [f"{URL}/pub/b%20c.git/gtfs/reels"]
    (first, _) = site.wanted()
    assert first.directory == top / "0.git" and first.options == ("meet=https://h/git/collection.asc", "poll=7")
    assert Config(Repository(first.directory, SHA1)).get("name") == "list-0"


def test_what_is_half_made_waits_until_it_has_a_ref(top: Path) -> None:
    new = make(top / "1.git", commits=False)
    shutil.copytree(make(top / "copy.git"), top / "x.git.tmp")
    (top / "begun.git" / "refs").mkdir(parents=True)
    site = site_of(top)
    assert look(site) == ["copy.git"]
    assert site.describe()["not_followed"] == {
        "1.git": "it has no ref yet", "x.git.tmp": "its name ends in .tmp: it is being made",
    }  # fmt: skip
    assert {new / "refs" / "heads", top, top / "begun.git"} <= site.directories()
    assert not (new / "gtfs").exists()
    (new / "refs" / "heads" / "main.lock").touch()
    assert look(site) == ["copy.git"]
    (new / "refs" / "heads" / "main.lock").unlink()
    commit(new)
    assert look(site) == ["1.git", "copy.git"]


@pytest.mark.parametrize("how", ["loose", "packed"])
def test_a_ref_is_seen_where_git_has_it(top: Path, how: str) -> None:
    path = make(top / "a.git")
    if how == "packed":
        subprocess.run(["git", f"--git-dir={path}", "pack-refs", "--all"], check=True)
    assert look(site_of(top)) == ["a.git"]


def test_an_inboxes_all_git_is_left_alone_and_says_why(top: Path) -> None:
    make(top / "git" / "0.git")
    both = make(top / "all.git", commits=False)
    (both / "objects" / "info" / "alternates").write_text("../../git/0.git/objects\n")
    site = site_of(top)
    assert look(site) == ["git/0.git"]
    assert "only the objects of other repositories" in site.describe()["not_followed"]["all.git"]


def test_a_repository_that_borrows_objects_publishes_them(top: Path, keys: Keys) -> None:
    base = make(top / "base.git")
    fork = top / "fork.git"
    subprocess.run(["git", "clone", "-q", "--bare", "--shared", base, fork], check=True)
    assert look(site_of(top)) == ["base.git", "fork.git"]
    publish(top, "fork.git")
    done = publish_collection(top, by_daemon=True)
    assert done.added == ["fork.git"]
    with State(Repository(fork, SHA1)) as state:
        assert state.held is not None and sum(reel.rows for reel in state.held.catalogue.reels) == 1


def test_mirrors_and_publishers_stay_what_they_are(top: Path, keys: Keys) -> None:
    for name, setting in (("mirror.git", "source"), ("clone.git", "clone")):
        make(top / name)
        (top / name / "gtfs").mkdir(mode=0o700)
        Config(Repository(top / name, SHA1)).set(setting, "https://example.org/x" if setting == "source" else "true")
    site = site_of(top)
    assert look(site) == [] and site.describe()["trouble"] is None
    assert Config(Repository(top / "mirror.git", SHA1)).sign_key() is None


def test_what_cannot_be_made_ready_is_named_and_the_others_run(top: Path) -> None:
    make(top / "a.git")
    make(top / "b.git")
    (top / "b.git" / "gtfs").mkdir(mode=0o700)
    with Lock(Repository(top / "b.git", SHA1).layout.lock):
        site = site_of(top)
        assert look(site) == ["a.git"]
        assert "b.git is in use" in site.describe()["trouble"]
    assert look(site) == ["a.git", "b.git"] and site.describe()["trouble"] is None


def test_of_two_names_that_are_one_place_the_one_that_ran_or_is_listed_goes_on_and_the_other_is_named(
    top: Path,
) -> None:
    make(top / "b.git")
    site = site_of(top)
    assert look(site) == ["b.git"]
    make(top / "B")
    make(top / "c")
    words = "B: it differs only by case, form or .git from 'b.git', and such names cannot both be"
    assert look(site) == ["b.git", "c"] and site.describe()["trouble"].startswith(words)
    publish(top, "b.git")
    publish_collection(top, by_daemon=True)
    again = site_of(top)  # after a restart
    assert look(again) == ["b.git", "c"] and again.describe()["trouble"].startswith(words)
    shutil.rmtree(top / "b.git")
    assert look(again) == ["B", "c"] and again.describe()["trouble"] is None


def deep_below(directory: Path) -> None:
    """More directories within each other than a path can name."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_what_one_does_to_his_own_directory_stops_nobody_else(
    top: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(top / "a.git")
    for name in ("deep", "closed"):
        (top / name).mkdir()
    deep_below(top / "deep")
    scandir, error = os.scandir, [errno.EACCES]  # root, who runs this, would not be refused

    def failing(place: Any) -> Any:
        if str(place) == str(top / "closed"):
            raise OSError(error[0], os.strerror(error[0]), str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", failing)
    site = site_of(top)
    assert look(site) == ["a.git"]
    waiting = site.describe()["not_followed"]
    assert waiting.pop("closed") == "it cannot be looked into: Permission denied"
    assert list(waiting.values()) == ["it cannot be looked into: File name too long"]
    publish(top, "a.git")
    done = publish_collection(top, force=True)
    assert done.entries == 1 and len(done.left_out) == 2

    error[0] = errno.EIO  # a disk that fails is another thing
    with pytest.raises(OSError, match="Input/output"):
        publish_collection(top, force=True)


@pytest.mark.parametrize(("what", "why"), [("file", "Not a directory"), ("loop", "Too many levels of symbolic links")])
def test_what_one_has_in_the_place_of_a_catalogue_stops_nobody_else(top: Path, what: str, why: str) -> None:
    make(top / "a.git")
    state = make(top / "b.git") / "gtfs"
    if what == "file":
        state.touch()
    else:
        (state / "catalogue").mkdir(parents=True)
        (state / "catalogue" / "latest.asc").symlink_to("latest.asc")
    site = site_of(top)
    assert look(site) == ["a.git"]
    assert site.describe()["not_followed"] == {"b.git": f"it cannot be looked into: {why}"}
    publish(top, "a.git")
    done = publish_collection(top, force=True)
    assert done.added == ["a.git"] and done.left_out == {"b.git": f"it cannot be looked into: {why}"}


def test_one_whose_place_becomes_a_file_before_it_is_made_ready_hinders_no_other(top: Path) -> None:
    make(top / "a" / "a.git")
    make(top / "b.git")
    site = site_of(top)
    site.look()
    new = site.new()
    shutil.rmtree(top / "a")
    (top / "a").touch()
    assert site.take_in(new, makes=True)
    assert [wanted.name for wanted in site.wanted()] == ["list/b.git"]


def test_another_users_repository_is_left_alone_unless_git_was_told_of_him(top: Path, keys: Keys) -> None:
    make(top / "a.git")
    theirs = make(top / "b.git")
    publish_repository(theirs, keys)
    (theirs / "gtfs" / "config").write_text(f"[gtfs]\nsignkey = {keys['bob']}\n")
    (theirs / "packed-refs").unlink(missing_ok=True)
    for path in (theirs / "packed-refs", theirs / "gtfs" / "catalogue" / "2.asc"):
        os.mkfifo(path)  # who opens it waits for ever
    for path in (theirs, *theirs.rglob("*")):
        os.lchown(path, 12345, 12345)
    site = site_of(top)
    assert look(site) == ["a.git"]
    assert "belongs to uid 12345, not to you" in site.describe()["not_followed"]["b.git"]
    publish(top, "a.git")
    done = publish_collection(top, force=True)
    assert done.added == ["a.git"] and "belongs to uid 12345" in done.left_out["b.git"]
    # As a hoster does whose daemon is root.
    for path in (theirs / "packed-refs", theirs / "gtfs" / "catalogue" / "2.asc"):
        path.unlink()
    subprocess.run(["git", "config", "--global", "--add", "safe.directory", str(theirs)], check=True)
    assert look(site_of(top)) == ["a.git", "b.git"]
    assert publish_collection(top, force=True).added == ["b.git"]


def test_another_repository_of_the_same_name_does_not_run_before_the_old_one_has_ended(top: Path) -> None:
    make(top / "a.git")
    site = site_of(top)
    assert look(site) == ["a.git"]
    (top / "a.git").rename(top / ".old")
    make(top / "a.git")
    assert site.look().is_gone and not site.wanted()
    site.take_in(site.new(), makes=True)
    assert [wanted.name for wanted in site.wanted()] == ["list/a.git"]


def test_a_daemon_lists_at_once_what_mirrors_act_upon_and_the_rest_within_the_hour(
    top: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not publish_collection(top, by_daemon=True).is_new and held_collection(top) is None
    publish_repository(top / "a.git", keys)
    assert publish_collection(top, by_daemon=True).version == 1
    publish_repository(top / "a.git", keys, 2)
    lines: Lines = {}
    for _ in range(2):
        assert not publish_collection(top, by_daemon=True, known=lines).is_new
    publish_repository(top / "b.git", keys)
    done = publish_collection(top, by_daemon=True, known=lines)
    assert done.is_new and done.added == ["b.git"]
    publish_repository(top / "a.git", keys, 3)
    monkeypatch.setattr("gtfs.collection.publisher.PROGRESS_S", 0)
    assert publish_collection(top, by_daemon=True, known=lines).version == 3
    assert not publish_collection(top, by_daemon=True, known=lines).is_new


def test_a_daemon_signs_no_list_that_loses_many_and_waits_for_nobody(top: Path, keys: Keys) -> None:
    publish_repository(top / "pub" / "a.git", keys)
    publish_repository(top / "pub" / "b.git", keys)
    publish_repository(top / "c.git", keys)
    publish_collection(top, by_daemon=True)
    (top / "pub").rename(top / ".pub")
    with pytest.raises(LosesMany):
        publish_collection(top, by_daemon=True)
    with Lock(CollectionPlaces.of_publisher(top).layout.lock), pytest.raises(ListBusy):
        publish_collection(top, by_daemon=True)


def test_a_list_has_a_bell_where_a_daemon_publishes_it_and_else_none(top: Path, keys: Keys) -> None:
    publish_repository(top / "a.git", keys)
    publish_collection(top)
    found = held_collection(top)
    assert found is not None and found.catalogue.bell is not None and b"\nBell: " in found.document
    assert not publish_collection(top).is_new
    init_collection(top, dataclasses.replace(settings(keys, top), repositories=None))
    publish_repository(top / "b.git", keys)
    publish_collection(top)
    found = held_collection(top)
    assert found is not None and found.catalogue.bell is None


def test_ids_of_one_key_are_never_the_same() -> None:
    names = ["a", "a.b", "a-b", "a b", "a/b", "x" * 300, "x" * 301, "é", "è"]
    assert len({id_of("list", name) for name in names}) == len(names)
    assert all(len(id_of("list", name)) <= 128 for name in names)
    assert id_of("list", "0.git") == "list-0" and id_of("other", "0.git") == "other-0"
