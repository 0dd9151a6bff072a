# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a collection that real gpg signed: the rules of acceptance, and what mirrors come of it."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from collecting import DAY_S, ListPublisher, follower
from keys import Keys, shared_keys
from owner import COMPROMISED, Owner, revoked

from gtfs.catalogue.accept import AlteredChain, Equivocation, FromFuture, NotSigned, OlderVersion, WrongSigner
from gtfs.catalogue.goback import NoSuchVersion, SetAside
from gtfs.collection.believed import KEPT, BelievedCollection, CollectionRefused
from gtfs.collection.document import BadCollection, Signing
from gtfs.collection.followed import FollowedCollection, FollowSettings, NotFollowed
from gtfs.collection.manifest import BadManifest
from gtfs.collection.mirrors import ABSENT_S
from gtfs.collection.record import Record, approve, read_record
from gtfs.daemon.added import AddedRepositories
from gtfs.daemon.asking import ask_daemon
from gtfs.daemon.conf import Configuration
from gtfs.daemon.following import CollectionFollower
from gtfs.daemon.places import Places
from gtfs.daemon.service import Service
from gtfs.feed import parse_feed
from gtfs.layout import Layout
from gtfs.node.control import answer_task, listen
from gtfs.node.options import NodeOptions
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.lock import Busy, Lock
from gtfs.state.trustgiven import TrustGiven

MANY = [f"r{n:03}" for n in range(40)]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture(scope="module")
def publisher(keys: Keys) -> ListPublisher:
    return ListPublisher(keys)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets time go by for everything that asks `time.time`."""
    gone = [0.0]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + gone[0])

    def later(seconds: float) -> None:
        gone[0] += seconds

    return later


def names(collection: FollowedCollection) -> list[str]:
    return [wanted.name.removeprefix("kernel/") for wanted in collection.wanted()]


def refused(collection: FollowedCollection, document: bytes) -> type[Exception]:
    before = collection.wanted()
    with pytest.raises(CollectionRefused) as e:
        collection.take(document)
    assert collection.wanted() == before and str(e.value).startswith("collection kernel: refused: ")
    return type(e.value.because)


def test_each_repository_of_the_list_is_wanted_with_its_feed_and_key(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    collection = follower(tmp_path, keys, options=("prefetch",))
    assert collection.wanted() == [] and collection.trouble() == "nothing is held of it yet"
    assert collection.take(publisher.sign(publisher.first("a", "pub/b.git")))
    a, b = collection.wanted()
    assert (a.name, a.source, a.origin) == ("kernel/a", "https://example.org/a", "collection kernel")
    assert (a.repository, b.repository) == ("id-a", "id-pub-b.git")
    assert (a.directory, b.directory) == (tmp_path / "mirrors" / "a.git", tmp_path / "mirrors" / "pub" / "b.git")
    ring = next((tmp_path / "state" / "rings").iterdir())
    assert a.options == ("prefetch", f"keyring={ring}", f"signer={keys['bob']}")
    assert set(keys.keyring("one.gpg", ring).primaries) == {keys["bob"]}
    assert collection.trouble() is None


@pytest.mark.parametrize(("threshold", "signers"), [(1, ["bob"]), (2, ["bob", "mallory"])])
def test_of_the_keys_of_a_line_those_sign_that_the_ring_has_if_they_are_enough(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, threshold: int, signers: list[str]
) -> None:
    collection = follower(tmp_path, keys)
    signing = Signing((keys["bob"], keys["mallory"]), threshold)
    entry = dataclasses.replace(publisher.entries("a")[0], signing=signing)
    collection.take(publisher.sign(publisher.first(entries=(entry,))))
    (a,) = collection.wanted()
    assert [word for word in a.options if word.startswith("signer=")] == [f"signer={keys[name]}" for name in signers]
    ring = next((tmp_path / "state" / "rings").iterdir())
    assert set(keys.keyring("one.gpg", ring).primaries) == {keys["bob"]}


def test_what_is_held_is_followed_again_after_a_restart(tmp_path: Path, keys: Keys, publisher: ListPublisher) -> None:
    first = publisher.sign(publisher.first("a", "b"))
    collection = follower(tmp_path, keys)
    collection.take(first)
    again = follower(tmp_path, keys)
    assert again.wanted() == collection.wanted() and not again.take(first)
    without_keys = follower(tmp_path, keys, trust=TrustGiven())
    assert names(without_keys) == ["a", "b"]
    assert without_keys.take(publisher.sign(publisher.next(publisher.first("a", "b"), "a", version=5)))


@pytest.mark.parametrize(("place", "name"), [(Record, "write"), (BelievedCollection, "_write_ring")])
def test_a_list_that_was_kept_on_a_disk_that_then_was_full_is_acted_on_when_it_comes_again(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, monkeypatch: pytest.MonkeyPatch, place: type, name: str
) -> None:
    first = publisher.first("a", "b")
    c = dataclasses.replace(publisher.entries("c")[0], signing=Signing((keys["carol"],)))
    second = publisher.sign(publisher.next(first, entries=(*publisher.entries("a", "b"), c)))
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(first))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                collection.take(second)
    assert names(collection) == ["a", "b"]
    assert collection.take(second) and names(collection) == ["a", "b", "c"]
    assert not collection.take(second)


def test_a_list_whose_keyring_was_taken_away_is_followed_and_no_other_believed(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    first = publisher.first("a", "b")
    follower(tmp_path, keys).take(publisher.sign(first))
    (tmp_path / "state" / "keyring.gpg").unlink()
    without_keys = follower(tmp_path, keys, trust=TrustGiven())
    assert names(without_keys) == ["a", "b"]
    second = publisher.sign(publisher.next(first, "a", "b", "c"))
    with pytest.raises(NotFollowing, match="keyring = FILE"):
        without_keys.take(second)
    assert follower(tmp_path, keys).take(second)


def test_nobody_is_believed_before_somebody_says_so(tmp_path: Path, keys: Keys, publisher: ListPublisher) -> None:
    document = publisher.sign(publisher.first("a"))
    for trust, error in (
        (TrustGiven(), NotFollowing),
        (TrustGiven(keyrings=(keys.public,)), CollectionRefused),
        (TrustGiven(keyrings=(keys.public,), signers=(keys["bob"],)), CollectionRefused),
    ):
        collection = follower(tmp_path / error.__name__ / str(len(trust.signers)), keys, trust=trust)
        with pytest.raises(error):
            collection.take(document)
        assert collection.wanted() == []


def test_the_rules_of_catalogues_hold(tmp_path: Path, keys: Keys, publisher: ListPublisher) -> None:
    first = publisher.first("a", "b")
    second = publisher.next(first, "a", "b", "c")
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(second))
    assert refused(collection, publisher.sign(first)) is OlderVersion
    third = publisher.next(second, "a", "b", "z")
    assert refused(collection, publisher.sign(third, "mallory")) is WrongSigner
    assert refused(collection, publisher.sign(third, "bob")) is WrongSigner
    assert refused(collection, publisher.sign(dataclasses.replace(third, signers=(keys["bob"],)))) is WrongSigner
    assert refused(collection, publisher.sign(dataclasses.replace(third, previous="00" * 32))) is AlteredChain
    future_s = int(time.time()) + DAY_S
    late = dataclasses.replace(third, date_s=future_s, valid_until_s=future_s + DAY_S)
    assert refused(collection, publisher.sign(late)) is FromFuture
    assert refused(collection, third.to_text().encode()) is NotSigned
    signed = publisher.sign(third)
    assert refused(collection, signed.replace(b" z ", b" y ")) is WrongSigner
    with pytest.raises(BadCollection):
        collection.take(keys.clearsign(third.to_text().encode().replace(b" z ", b" ../z "), "alice"))
    assert collection.take(signed)
    assert collection.describe()["version"] == 3


@pytest.mark.warns
def test_two_lists_of_one_version_stop_everything_and_the_evidence_is_kept(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    first = publisher.first("a", "b")
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(first))
    other = dataclasses.replace(first, entries=publisher.entries("a", "evil"))
    assert refused(collection, publisher.sign(other)) is Equivocation
    assert "signed two different lists of version 1" in str(collection.trouble())
    assert len(list((tmp_path / "state" / "catalogue").glob("equivocation-1-*.asc"))) == 1
    assert names(follower(tmp_path, keys)) == ["a", "b"]  # what runs goes on, and is not asked for again


@pytest.mark.warns
def test_what_a_stolen_key_listed_falls_and_the_list_of_another_key_takes_its_place(tmp_path: Path) -> None:
    owner = Owner(Path(tempfile.mkdtemp(prefix="gtfs-owner-", dir="/tmp")))  # gpg's agent wants a short path
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(owner.export("plain", "other"))
    trust = TrustGiven(keyrings=(ring,), signers=(owner["plain"],))
    publisher = ListPublisher(owner, "plain")
    publisher.keys.fingerprints["bob"] = owner["other"]
    first = publisher.first("a", "b", signers=(owner["plain"], owner["other"]))
    collection = follower(tmp_path, owner, trust=trust)
    collection.take(publisher.sign(first))
    stolen = publisher.next(first, "evil", version=1 << 52, signers=(owner["plain"],), previous="00" * 32)
    assert collection.take(publisher.sign(stolen)) and "evil" in names(collection)
    revocation = owner.revocation("plain", COMPROMISED, time_s=int(time.time()) - DAY_S)
    ring.write_bytes(revoked(owner.export("plain"), revocation) + owner.export("other"))
    collection = follower(tmp_path, owner, trust=trust)
    assert "by a key that is revoked" in str(collection.trouble())
    later_s = stolen.date_s + 1
    second = publisher.next(first, "a", "b", date_s=later_s, signers=(owner["other"],))
    assert collection.take(publisher.sign(second, "other")) and collection.describe()["version"] == 2
    assert {"a", "b"} <= set(names(collection)) and "by a key" not in str(collection.trouble())
    owner.close()


def test_one_goes_back_behind_a_thiefs_lists_and_none_of_them_is_taken_again(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    collection, first = follower(tmp_path, keys), publisher.first("a", "b")
    collection.take(publisher.sign(first))
    yesterday_s = time.time() - DAY_S
    os.utime(tmp_path / "state" / "catalogue" / "1.asc", (yesterday_s, yesterday_s))
    thiefs = first
    lists = []
    for _ in range(KEPT + 4):
        thiefs = publisher.next(thiefs, "a", "b", "evil")
        lists.append(publisher.sign(thiefs))
        collection.take(lists[-1])
    last = thiefs.version
    assert collection.describe()["version"] == last and len(names(collection)) == 3
    with pytest.raises(NoSuchVersion, match=f"is 1, 2, 6 to {last - 1}$"):
        collection.rewind(3)
    assert len(collection.rewind(1, dry_run=True)["files"]) == KEPT + 1
    assert collection.describe()["version"] == last
    assert len(collection.rewind(1)["files"]) == KEPT + 1
    assert collection.describe()["version"] == 1 and collection.trouble() is None
    absent = [mirror["name"] for mirror in collection.describe()["mirrors"] if mirror["absent_since"] is not None]
    assert absent == ["evil"]
    for document in (lists[0], lists[-1]):
        assert refused(collection, document) is SetAside
    owners = publisher.next(first, "a", "b", "c")
    assert collection.take(publisher.sign(owners)) and "c" in names(collection)
    for document in (lists[0], lists[-1]):  # beside what came in its place it is no second word of the owner's
        assert refused(collection, document) is SetAside
    assert collection.trouble() is None and not list((tmp_path / "state" / "catalogue").glob("equivocation-*"))
    assert follower(tmp_path, keys).describe()["version"] == 2


def test_a_daemon_goes_back_to_an_older_list_and_acts_on_it(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    first, acted = publisher.first("a", "b"), []
    settings = FollowSettings("kernel", str(tmp_path / "list"), tmp_path / "mirrors", trust=trust_of(keys))
    roster: Any = SimpleNamespace(
        session=None, shared=SimpleNamespace(client=None), read_options=lambda _: SimpleNamespace(node=NodeOptions())
    )
    places = Places(tmp_path / "gtfs.conf", tmp_path, tmp_path / "run")
    nothing: Any = None
    service = Service(places, Configuration(), Configuration, nothing, AddedRepositories(places.added), roster, nothing)

    async def changed() -> None:
        await trio.lowlevel.checkpoint()
        acted.append([wanted.name for wanted in collection.wanted()])

    collection = service._followers["kernel"] = CollectionFollower(tmp_path / "c", settings, roster, changed)

    async def main() -> None:
        ask = service.handlers()["rewind"]
        with pytest.raises(NotFollowed, match="no collection 'x'"):
            await ask({"name": "x", "version": 1}, print)
        with pytest.raises(NotFollowed, match="kernel is not followed"):
            await ask({"name": "kernel", "version": 1}, print)
        await collection.open()
        for each in (first, publisher.next(first, "b", "evil")):
            await collection._take(parse_feed(settings.source), publisher.sign(each))
        acted.clear()
        places.runtime.mkdir()
        request = {"do": "rewind", "name": "kernel", "version": 1, "dry_run": False}  # as the command asks
        async with trio.open_nursery() as collection._nursery:  # as if it ran
            assert (await ask({"name": "kernel", "version": 1, "dry_run": True}, print))["version"] == 1
            assert acted == [] and collection.describe()["version"] == 2
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_task, listen(places.runtime), service.handlers())
                done = await trio.to_thread.run_sync(ask_daemon, [places], request)
                nursery.cancel_scope.cancel()
        assert (done["name"], done["version"], len(done["files"])) == ("kernel", 1, 1)
        assert acted == [["kernel/a", "kernel/b", "kernel/evil"]] and collection.describe()["version"] == 1

    trio.run(main)


def trust_of(keys: Keys) -> TrustGiven:
    return TrustGiven(keyrings=(keys.public,), signers=(keys["alice"],))


def test_a_stale_list_adds_and_removes_nothing(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, clock: Any
) -> None:
    first = publisher.first(*MANY)
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(first))
    collection.take(publisher.sign(publisher.next(first, *MANY[1:])))
    assert collection.next_due() is not None
    clock(31 * DAY_S)
    assert not collection.look()
    assert names(collection) == MANY and "it is stale since" in str(collection.trouble())


def test_a_mirror_goes_after_a_month_when_a_list_of_then_still_says_so(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    first = publisher.first(*MANY)
    second = publisher.next(first, *MANY[1:], valid_until_s=first.valid_until_s + 60 * DAY_S)
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(first))
    assert collection.take(publisher.sign(second)) and names(collection) == MANY
    due_s = collection.next_due()
    assert due_s is not None and 0 <= due_s - ABSENT_S - time.time() + 60 < 120
    clock(ABSENT_S + 60)
    assert not collection.look() and names(collection) == MANY  # the list that says so is a month old itself
    now_s = int(time.time())
    third = publisher.next(second, *MANY[1:], date_s=now_s, valid_until_s=now_s + DAY_S)
    document = keys.sign(third.to_text().encode(), "alice", how="--clearsign", time_s=now_s)
    assert collection.take(document) and names(collection) == MANY[1:]
    (gone,) = collection.gone()
    assert gone.name == "r000" and gone.directory == tmp_path / "mirrors" / "r000.git"
    assert collection.put_away(gone) == gone.directory and collection.gone() == []
    assert collection.describe()["gone"][0]["put_away"] == str(gone.directory)


def test_what_a_full_disk_kept_from_being_written_of_a_list_is_found_at_the_next_look(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = follower(tmp_path, keys)
    first = publisher.first("a", "b")
    collection.take(publisher.sign(first))

    def full(_record: Record, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    document = publisher.sign(publisher.next(first, "a", "b", "c"))
    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", full)
        with pytest.raises(OSError, match="No space"):
            collection.take(document)
        assert names(collection) == ["a", "b"]
    assert collection.look() and names(collection) == ["a", "b", "c"]
    assert set(read_record(tmp_path / "state" / "mirrors.json").mirrors) == {"a", "b", "c"}


@pytest.mark.warns
@pytest.mark.parametrize("left", [[], MANY[11:], [f"other-{n}" for n in range(40)]], ids=["none", "some", "others"])
def test_a_list_that_loses_many_removes_nothing_without_a_person(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, clock: Any, left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = publisher.first(*MANY)
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(first))
    collection.take(publisher.sign(publisher.next(first, *left, valid_until_s=first.valid_until_s + 90 * DAY_S)))
    lost = len(set(MANY) - set(left))
    assert f"{lost} of {lost + len(left)} repositories are not in the list any more" in str(collection.trouble())
    assert sum("gtfs collection prune kernel" in record.message for record in caplog.records) == 1
    clock(2 * ABSENT_S)
    assert not collection.look()
    assert set(MANY) <= set(names(collection)) and collection.describe()["held_removals"] == sorted(
        set(MANY) - set(left)
    )
    approve(tmp_path / "state" / "approved.json", MANY)
    assert collection.look() and names(collection) == sorted(left) and collection.trouble() is None
    assert not (tmp_path / "state" / "approved.json").exists()


def test_a_repository_that_comes_back_is_the_mirror_that_was_kept(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    first = publisher.first("a", "b", "c")
    second = publisher.next(first, "a", "b")
    collection = follower(tmp_path, keys, gone="move")
    collection.take(publisher.sign(first))
    (tmp_path / "mirrors" / "c.git" / "gtfs").mkdir(parents=True)
    (tmp_path / "mirrors" / "c.git" / "here").touch()
    collection.take(publisher.sign(second))
    approve(tmp_path / "state" / "approved.json", ["c"])
    collection.look()
    (gone,) = collection.gone()
    place = collection.put_away(gone)
    assert place is not None and place.parent == tmp_path / "mirrors" / ".gone" and (place / "here").exists()
    collection = follower(tmp_path, keys, gone="move")
    assert collection.take(publisher.sign(publisher.next(second, "a", "b", "c")))
    assert [w.directory for w in collection.wanted()][-1] == place and collection.gone() == []


@pytest.mark.parametrize("what", ["move", "delete"])
def test_putting_away_goes_on_after_a_crash(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, what: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    first = publisher.first("a", "b", "pub/c")
    collection = follower(tmp_path, keys, gone=what)
    collection.take(publisher.sign(first))
    (tmp_path / "mirrors" / "pub" / "c.git" / "gtfs").mkdir(parents=True)
    collection.take(publisher.sign(publisher.next(first, "a", "b")))
    approve(tmp_path / "state" / "approved.json", ["pub/c"])
    collection.look()
    before = (tmp_path / "state" / "mirrors.json").read_bytes()
    place = collection.put_away(collection.gone()[0])
    (tmp_path / "state" / "mirrors.json").write_bytes(before)  # the last thing that was to be written
    again = follower(tmp_path, keys, gone=what)
    if what == "delete":
        (tmp_path / "mirrors" / ".gone" / f"pub+c-{again.gone()[0].since_s}").mkdir()  # half of it
    assert again.put_away(again.gone()[0]) == place and not again.gone()
    assert (place is None) == (what == "delete") and (place is None or place.is_dir())


def test_mirrors_that_are_forgotten_are_found_again(tmp_path: Path, keys: Keys, publisher: ListPublisher) -> None:
    collection = follower(tmp_path, keys)
    collection.take(publisher.sign(publisher.first("a", "b")))
    (tmp_path / "state" / "mirrors.json").unlink()  # or never written: a crash
    assert follower(tmp_path, keys).wanted() == collection.wanted()


@pytest.mark.parametrize("what", ["keep", "move", "delete"])
def test_a_mirror_that_somebody_has_is_not_taken_away(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, what: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    first = publisher.first("a", "b", "c")
    collection = follower(tmp_path, keys, gone=what)
    collection.take(publisher.sign(first))
    directory = tmp_path / "mirrors" / "c.git"
    (directory / "gtfs").mkdir(parents=True)
    collection.take(publisher.sign(publisher.next(first, "a", "b")))
    approve(tmp_path / "state" / "approved.json", ["c"])
    collection.look()
    (gone,) = collection.gone()
    with Lock(Layout.in_repository(directory).lock):
        if what == "keep":
            assert collection.put_away(gone) == directory
            return
        with pytest.raises(Busy):
            collection.put_away(gone)
        assert directory.is_dir() and collection.gone() == [gone]
    assert (collection.put_away(gone) is None) == (what == "delete")
    assert not directory.exists()


def test_a_link_in_the_place_of_a_mirror_is_left_alone(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    first = publisher.first("a", "b", "c")
    collection = follower(tmp_path, keys, gone="delete")
    collection.take(publisher.sign(first))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mirrors").mkdir()
    (tmp_path / "mirrors" / "c.git").symlink_to(elsewhere)
    collection.take(publisher.sign(publisher.next(first, "a", "b")))
    approve(tmp_path / "state" / "approved.json", ["c"])
    collection.look()
    (gone,) = collection.gone()
    assert collection.put_away(gone) == tmp_path / "mirrors" / "c.git" and elsewhere.is_dir()


def test_what_the_settings_leave_out_is_not_run_and_stays(tmp_path: Path, keys: Keys, publisher: ListPublisher) -> None:
    follower(tmp_path, keys).take(publisher.sign(publisher.first("a", "b", "pub/c")))
    chosen = follower(tmp_path, keys, include=("a", "pub/*"), exclude=("*c",))
    assert names(chosen) == ["a"] and len(chosen.describe()["mirrors"]) == 3 and chosen.trouble() is None
    assert names(follower(tmp_path, keys)) == ["a", "b", "pub/c"]


def test_files_of_this_machine_are_followed_only_if_the_list_is_one(
    tmp_path: Path, keys: Keys, publisher: ListPublisher
) -> None:
    entries = publisher.entries("a", "b")
    a = dataclasses.replace(entries[0], feeds=("file:///etc/passwd",))
    b = dataclasses.replace(entries[1], feeds=("file:///srv/b", "https://example.org/b"))
    document = publisher.sign(publisher.first(entries=(a, b)))
    far = follower(tmp_path / "far", keys)
    far.take(document)
    assert [w.source for w in far.wanted()] == ["https://example.org/b"]
    assert far.trouble() == ("a is not followed: its only feeds are files, or in a network nearer than the list's")
    near = follower(tmp_path / "near", keys, source=str(tmp_path / "collection.asc"))
    near.take(document)
    assert [w.source for w in near.wanted()] == ["file:///etc/passwd", "file:///srv/b"]
    assert near.wanted()[1].options[0] == "feed=https://example.org/b"


def test_a_manifest_gives_names_and_the_settings_give_the_trust(tmp_path: Path, keys: Keys) -> None:
    settings = FollowSettings(
        "old", "https://h/manifest.js.gz", tmp_path / "mirrors", kind="manifest", options=(f"keyring={keys.public}",)
    )
    collection = FollowedCollection(tmp_path / "state", settings)
    assert collection.take(gzip.compress(json.dumps({"/a.git": {}, "/b.git": {}}).encode()))
    a, _ = collection.wanted()
    assert (a.name, a.source) == ("old/a.git", "https://h/a.git/gtfs/catalogue/latest.asc")
    assert a.options == (f"keyring={keys.public}",)
    with pytest.raises(BadManifest):
        collection.take(b"rubbish")
    assert not collection.take(b'{"/a.git": {}, "/b.git": {}}') and len(collection.wanted()) == 2
    assert [w.name for w in FollowedCollection(tmp_path / "state", settings).wanted()] == ["old/a.git", "old/b.git"]


@pytest.mark.warns
def test_an_empty_manifest_removes_nothing_for_ever(tmp_path: Path, clock: Any) -> None:
    settings = FollowSettings("old", "https://h/manifest.js.gz", tmp_path / "mirrors", kind="manifest")
    collection = FollowedCollection(tmp_path / "state", settings)
    collection.take(json.dumps({f"/{name}": {} for name in MANY}).encode())
    collection.take(b"{}")
    clock(3 * ABSENT_S)
    assert not collection.take(b"{}")
    assert len(collection.wanted()) == 40 and "are not in the list any more" in str(collection.trouble())


@pytest.mark.warns
def test_what_the_list_says_of_versions_counts_for_its_own_mirrors_as_long_as_the_list_does(
    tmp_path: Path, keys: Keys, publisher: ListPublisher, clock: Any
) -> None:
    collection = follower(tmp_path, keys)
    assert collection.counting == {}
    first = publisher.first("a", "b", valid_until_s=int(time.time()) + DAY_S)
    collection.take(publisher.sign(first))
    a, b = (tmp_path / "mirrors" / f"{name}.git" for name in "ab")
    assert {place: (e.repository, e.version) for place, e in collection.counting.items()} == {
        a: ("id-a", 1), b: ("id-b", 1)
    }  # fmt: skip
    newer = tuple(dataclasses.replace(entry, version=7) for entry in publisher.entries("a"))
    second = publisher.next(first, entries=newer)
    collection.take(publisher.sign(second))
    assert {place: e.version for place, e in collection.counting.items()} == {a: 7}
    again = follower(tmp_path, keys)
    assert {place: e.version for place, e in again.counting.items()} == {a: 7}
    with pytest.raises(CollectionRefused, match="two different lists"):
        collection.take(publisher.sign(publisher.next(first, "a")))
    assert collection.counting == {}
    clock(2 * DAY_S)
    assert again.counting == {}
