# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back: what is offered for somebody else's repository, and what its publisher makes of it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from keys import shared_keys
from offering import Offering

from gtfs.catalogue.document import ReelEntry
from gtfs.cli.nodeoptions import parse
from gtfs.feed import parse_feed
from gtfs.ids import InfoHash, ObjectId, ReelName
from gtfs.node import inboxwatch
from gtfs.node.inbox import Answer, _ask_all
from gtfs.node.inboxwatch import look_once
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import open_repository
from gtfs.state import fork as forks
from gtfs.state import inbox as inboxes
from gtfs.state.fork import fork_name
from gtfs.state.state import State


@pytest.fixture
def there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Offering:
    return Offering(tmp_path, shared_keys(), capsys)


def the_offer(found: Any) -> Any:
    [one] = [offer for fork in found["forks"] for offer in fork["offers"]]
    return one


def refs(there: Offering, repository: Path) -> dict[str, str]:
    lines = there.git(repository, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def test_what_is_offered_is_shown_verified_and_ready_for_git_fetch(there: Offering) -> None:
    one, two = there.commit("better", by="bob"), there.commit("better still", by="bob")
    there.offer()
    before = refs(there, there.pub)
    found = there.add()
    [fork] = found["forks"]
    assert (fork["key"], fork["name"]) == (there.key("bob"), "bob <bob@example.org>")
    offer = the_offer(found)
    assert (offer["ref"], offer["tip"], offer["stage"], offer["reason"]) == ("refs/heads/main", two, "offered", None)
    assert [(c["oid"], c["signer"], c["subject"]) for c in offer["commits"]] == [
        (two, there.key("bob"), "better still"),
        (one, there.key("bob"), "better"),
    ]
    assert refs(there, there.pub) == before
    there.git(there.work, "fetch", "-q", fork["path"], "main")
    assert there.git(there.work, "rev-parse", "FETCH_HEAD") == two
    # It is asked again, by the place where it was found.
    assert there.inbox() == found
    assert "git fetch" in there.type("inbox", there.pub, "-o", "offline,nodht")


def test_a_fork_has_packs_of_what_it_offers_and_of_nothing_else(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    assert sum(reel.rows for reel in there.held().catalogue.reels) == 1
    there.add()
    for repository in (there.fork, there.pub / "gtfs-inbox" / f"{there.key('bob')}.git", there.pub, there.mirror):
        there.type("fsck", repository)


def test_an_offer_that_is_fetched_is_a_ref_that_is_never_published(there: Offering) -> None:
    tip = there.commit("better", by="bob")
    there.offer()
    there.add()
    offer = the_offer(there.inbox("--fetch"))
    assert offer["fetched"] == f"refs/gtfs/inbox/{there.key('bob')}/main"
    assert refs(there, there.pub)[offer["fetched"]] == tip
    assert not there.json("publish", there.pub)["new"]
    # Once it is taken it goes from there.
    there.git(there.pub, "update-ref", "refs/heads/main", tip)
    assert the_offer(there.inbox("--fetch"))["stage"] == "taken"
    assert offer["fetched"] not in refs(there, there.pub)


def test_what_the_publisher_has_merged_is_taken_on_both_sides(there: Offering) -> None:
    tip = there.commit("better", by="bob")
    there.offer()
    there.add()
    offer = the_offer(there.inbox("--merge", "main"))
    assert offer["merged"] and refs(there, there.pub)["refs/heads/main"] == tip
    there.type("publish", there.pub)
    there.sync()
    assert refs(there, there.mirror)["refs/heads/main"] == tip
    assert [o["stage"] for o in there.json("offer", there.mirror, "--list")["offers"]] == ["taken"]
    assert the_offer(there.inbox())["stage"] == "taken"
    assert "taken" in there.type("offer", there.mirror, "--list")
    # And the next one stands on it.
    more = there.commit("more", by="bob")
    there.offer()
    assert the_offer(there.inbox())["tip"] == more
    # A fork holds what is offered, and nothing that once was.
    assert sum(reel.rows for reel in there.held().catalogue.reels) == 1
    there.type("fsck", there.fork)
    there.type("fsck", there.pub / "gtfs-inbox" / f"{there.key('bob')}.git")


def test_an_offer_that_does_not_stand_on_the_branch_is_not_merged(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.git(there.work, "reset", "-q", "--hard", there.first)
    other = there.commit("otherwise")
    there.git(there.work, "push", "-q", "origin", "main")
    there.add()
    offer = the_offer(there.inbox("--merge", "main"))
    assert not offer["merged"] and f"does not stand on {other}" in offer["not_merged"]
    assert refs(there, there.pub)["refs/heads/main"] == other


def test_an_offer_for_a_branch_that_is_not_there_is_not_merged(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer("--to", "topic")
    there.add()
    assert "there is no refs/heads/topic" in the_offer(there.inbox("--merge", "topic"))["not_merged"]
    assert list(refs(there, there.pub)) == ["refs/heads/main"]


def test_an_offer_that_is_withdrawn_is_gone(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    there.inbox("--fetch")
    assert "nothing is offered" in there.type("offer", there.mirror, "--withdraw", "main")
    found = there.inbox("--fetch")
    assert [fork["offers"] for fork in found["forks"]] == [[]]
    assert list(refs(there, there.pub)) == ["refs/heads/main"]
    assert "nobody offers anything" in there.type("inbox", there.pub, "-o", "offline,nodht")
    assert there.held().catalogue.reels == ()
    for repository in (there.fork, there.pub / "gtfs-inbox" / f"{there.key('bob')}.git"):
        there.type("fsck", repository)
        with State(open_repository(repository)) as state:
            assert state.index.packs.count() == 0
    assert "nothing is offered as" in there.type("offer", there.mirror, "--withdraw", "main", exit_code=2)


def test_an_offer_of_the_same_name_takes_the_place_of_the_one_before(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    there.git(there.work, "reset", "-q", "--hard", there.first)
    again = there.commit("better thought of", by="bob")
    there.offer()
    assert the_offer(there.inbox())["tip"] == again


def test_unsigned_commits_are_not_offered(there: Offering) -> None:
    there.commit("better")
    assert "has no OpenPGP signature" in there.offer(exit_code=2)
    assert not there.catalogue.exists()


def test_what_is_published_already_is_not_offered(there: Offering) -> None:
    assert "has" in there.offer(exit_code=2)


def test_a_history_of_its_own_is_refused(there: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = there.git(there.work, "rev-parse", "HEAD^{tree}")
    root = there.make(tree, [], b"mine", by="bob")
    there.git(there.work, "reset", "-q", "--hard", root)
    assert "does not stand on" in there.offer(exit_code=2)
    monkeypatch.setattr(forks, "check_offer", unchecked)
    monkeypatch.setattr("gtfs.cli.work.offer.check_offer", unchecked)
    there.offer()
    offer = the_offer(there.add(exit_code=4))
    assert offer["stage"] == "refused" and "a first commit of its own" in offer["reason"]


def unchecked(fork: Any, upstream: Any, tip: ObjectId) -> Any:
    """Who offers may have another program."""
    return forks.look_beyond(fork, tip, list(upstream.refs.values()), 1 << 20)


def test_more_commits_than_an_offer_may_have_are_refused(there: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        there.commit(f"step {number}", by="bob")
    monkeypatch.setattr(forks, "COMMITS", 3)
    assert "over the limit of 3 commits" in there.offer(exit_code=2)
    monkeypatch.setattr(forks, "COMMITS", 1000)
    there.offer()
    monkeypatch.setattr(inboxes, "COMMITS", 3)
    offer = the_offer(there.add(exit_code=4))
    assert (offer["stage"], offer["reason"]) == ("refused", "it brings more than 3 commits")
    assert offer["commits"] == []


@pytest.mark.warns
def test_an_unsigned_commit_in_a_fork_is_refused_and_the_offer_beside_it_holds(
    there: Offering, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = there.commit("better", by="bob")
    there.offer("--to", "good")
    bad = there.commit("worse")
    there.commit("on top of it", by="bob")
    monkeypatch.setattr("gtfs.cli.work.offer.check_offer", unchecked)
    there.offer("--to", "bad")
    found = {offer["ref"]: offer for offer in there.add(exit_code=4)["forks"][0]["offers"]}
    assert (found["refs/heads/good"]["stage"], found["refs/heads/good"]["tip"]) == ("offered", good)
    assert found["refs/heads/bad"]["stage"] in ("refused", "missing")
    assert f"{bad}" in found["refs/heads/bad"]["reason"] and "not signed" in found["refs/heads/bad"]["reason"]
    inbox = there.pub / "gtfs-inbox" / f"{there.key('bob')}.git"
    assert "refs/heads/bad" not in refs(there, inbox)


def test_whom_the_policy_of_a_branch_leaves_out_offers_nothing_for_it(there: Offering) -> None:
    line = f"refs/heads/main every-commit by={there.key('alice')}"
    there.type("init", there.pub, "--policy", line)
    there.commit("better", by="bob")
    there.offer()
    there.offer("--to", "topic")
    found = {offer["ref"]: offer for offer in there.add(exit_code=4)["forks"][0]["offers"]}
    assert found["refs/heads/main"]["stage"] == "refused"
    assert f"signed by {there.key('bob')}" in found["refs/heads/main"]["reason"]
    assert found["refs/heads/topic"]["stage"] == "offered"


def test_where_tags_are_signed_by_one_the_commits_may_be_anybodys_of_the_ring(there: Offering) -> None:
    there.type("init", there.pub, "--policy", f"refs/heads/main tag by={there.key('alice')}")
    there.commit("better", by="bob")
    there.offer()
    assert the_offer(there.add())["stage"] == "offered"


def test_what_is_offered_stays_when_the_repository_beside_it_forgets_it(there: Offering) -> None:
    there.git(there.mirror, "fetch", "-q", str(there.work), "main:refs/heads/mine")
    tip = there.commit("better", by="bob")
    there.git(there.mirror, "fetch", "-q", str(there.work), "main:refs/heads/mine")
    there.type("offer", there.mirror, "mine", "--sign-key", there.key("bob"), "--gnupg-home", there.keys.home)
    there.git(there.mirror, "update-ref", "-d", "refs/heads/mine")
    there.git(there.mirror, "-c", "gc.pruneExpire=now", "gc", "-q")
    assert tip not in there.git(there.mirror, "cat-file", "--batch-all-objects", "--batch-check")
    there.type("fsck", there.fork)
    assert the_offer(there.add())["tip"] == tip


def test_a_fork_by_a_key_that_is_not_in_the_ring_is_not_looked_into(there: Offering) -> None:
    there.commit("better", by="carol")
    there.offer(by="carol")
    assert there.type("inbox", there.pub, "-o", "offline,nodht", "--add", there.catalogue, exit_code=4)
    assert not (there.pub / "gtfs-inbox").exists()
    # With the key it is believed.
    there.trust("carol")
    assert the_offer(there.add())["stage"] == "offered"


def test_a_key_that_left_the_ring_offers_nothing_any_more(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    there.type("trust", there.pub, "remove", there.key("bob"))
    found = there.inbox(exit_code=4)
    assert the_offer(found)["stage"] == "refused" and "may sign no commit here" in the_offer(found)["reason"]
    inbox = there.pub / "gtfs-inbox" / f"{there.key('bob')}.git"
    assert "refs/heads/main" not in refs(there, inbox)


def test_a_fork_of_another_repository_offers_nothing(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    forged = there.forge(repository=fork_name("another", there.key("bob")), version=9, previous="00" * 32)
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", forged, exit_code=4)
    assert "offers nothing for demo" in said
    assert not (there.pub / "gtfs-inbox").exists()


def test_a_fork_may_accept_no_faults(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    forged = there.forge(accepted_faults=(ObjectId(bytes(20)),))
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", forged, exit_code=4)
    assert "wants faults to be accepted" in said


@pytest.mark.parametrize("what", ["bytes", "packs", "refs", "tags"])
def test_a_fork_that_is_too_large_is_refused_before_anything_is_fetched(there: Offering, what: str) -> None:
    there.commit("better", by="bob")
    there.offer()
    [reel], tip = there.held().catalogue.reels, next(iter(there.held().catalogue.refs.values()))
    changes: dict[str, dict[str, Any]] = {
        "bytes": {"reels": (reel, ReelEntry(ReelName("a" * 64), InfoHash(bytes(20)), inboxes.REELS_BYTES, 1))},
        "packs": {"reels": (replace(reel, size=200 << 20, rows=inboxes.PACKS + 1),)},
        "refs": {"refs": {b"refs/heads/n%03d" % n: tip for n in range(inboxes.OFFERS + 1)}},
        "tags": {"refs": {b"refs/tags/v1": tip}},
    }
    forged = there.forge(**changes[what])
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", forged, exit_code=4)
    assert {"bytes": "reels have", "packs": "packs", "refs": "65 offers", "tags": "no branch"}[what] in said
    assert not (there.pub / "gtfs-inbox").exists()


def test_a_catalogue_that_is_too_long_for_a_fork_is_not_read(there: Offering) -> None:
    path = there.root / "long.asc"
    path.write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n" + b"x" * inboxes.DOCUMENT_BYTES)
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", path, exit_code=4)
    assert "over the limit" in said


def test_what_is_too_long_is_not_kept_until_the_last_fork_has_answered(tmp_path: Path) -> None:
    path = tmp_path / "long.asc"
    path.write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n" + b"x" * inboxes.DOCUMENT_BYTES)
    [answer] = trio.run(_ask_all, [Answer(parse_feed(str(path)), None)], NodeOptions(offline=True))
    assert answer.document is None and "over the limit" in str(answer.error)


def test_more_forks_than_an_inbox_may_have_are_refused(there: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "FORKS", 0)
    there.commit("better", by="bob")
    there.offer()
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", there.catalogue, exit_code=4)
    assert "there are 0 forks" in said


def test_a_fork_past_its_time_is_refused(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    now_s = int(time.time())
    forged = there.forge(date_s=now_s - 100, valid_until_s=now_s - 50)
    said = there.type("inbox", there.pub, "-o", "offline,nodht", "--add", forged, exit_code=4)
    assert "past its time" in said


@pytest.mark.warns
def test_a_fork_that_signs_two_catalogues_of_one_version_counts_for_nothing(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    good = there.catalogue.read_bytes()
    tip = next(iter(there.held().catalogue.refs.values()))
    forged = there.forge(refs={b"refs/heads/other": tip}).read_bytes()
    there.catalogue.write_bytes(forged)
    found = there.inbox(exit_code=4)
    assert "two different catalogues" in found["forks"][0]["trouble"]
    assert the_offer(found)["stage"] == "refused"
    # Until there is a next one, also when the first is shown again.
    there.catalogue.write_bytes(good)
    assert the_offer(there.inbox(exit_code=4))["stage"] == "refused"
    there.commit("next", by="bob")
    there.offer()
    assert the_offer(there.inbox())["stage"] == "offered"


@pytest.mark.warns
def test_two_catalogues_of_one_who_offers_count_against_nobody_else(there: Offering) -> None:
    there.trust("carol")
    there.commit("better", by="bob")
    there.offer()
    there.add()
    bobs = there.catalogue
    # Where bob's are looked for in the DHT anybody can put a pointer to carol's.
    shutil.copytree(there.mirror, other := there.root / "other.git", ignore=shutil.ignore_patterns("gtfs-fork.git"))
    there.mirror = other
    there.git(there.work, "reset", "-q", "--hard", there.first)
    there.commit("otherwise", by="carol")
    there.offer(by="carol")
    there.add()
    tip = next(iter(there.held().catalogue.refs.values()))
    bobs.write_bytes(there.forge(by="carol", refs={b"refs/heads/other": tip}).read_bytes())
    forks = {fork["name"].partition(" ")[0]: fork for fork in there.inbox(exit_code=4)["forks"]}
    assert forks["bob"]["offers"][0]["stage"] == "offered"
    assert forks["bob"]["trouble"] == f"what is found there is the fork of {there.key('carol')}"
    assert forks["carol"]["offers"][0]["stage"] == "refused"


def test_an_older_catalogue_of_a_fork_changes_nothing(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    old = there.catalogue.read_bytes()
    two = there.commit("better still", by="bob")
    there.offer()
    there.add()
    there.catalogue.write_bytes(old)
    found = there.inbox()
    assert "older than the held version" in found["forks"][0]["trouble"]
    assert (the_offer(found)["tip"], the_offer(found)["stage"]) == (two, "offered")


def test_a_fork_whose_place_is_gone_is_shown_as_it_was(there: Offering) -> None:
    tip = there.commit("better", by="bob")
    there.offer()
    there.add()
    shutil.rmtree(there.fork)
    found = there.inbox()
    assert found["forks"][0]["trouble"] is not None
    assert (the_offer(found)["tip"], the_offer(found)["stage"]) == (tip, "offered")


def test_a_reel_that_does_not_come_is_said(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    shutil.rmtree(there.fork / "gtfs" / "reels")
    offer = the_offer(there.add(exit_code=5))
    assert offer["stage"] == "missing" and offer["reason"]


def test_a_subject_is_one_line_without_what_steers_a_terminal(there: Offering) -> None:
    tree = there.git(there.work, "rev-parse", "HEAD^{tree}")
    tip = there.make(tree, [there.first], b"\x1b[2J\x07red \xe2\x80\xae txt\nbody", by="bob")
    there.git(there.work, "reset", "-q", "--hard", tip)
    there.offer()
    subject = the_offer(there.add())["commits"][0]["subject"]
    assert subject == "\ufffd[2J\ufffdred \ufffd txt"
    assert "\x1b" not in there.type("inbox", there.pub, "-o", "offline,nodht")


def test_what_somebody_put_beside_the_forks_is_none(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    for name in ("old.git", f"{there.key('bob').lower()}.git"):
        (there.pub / "gtfs-inbox" / name).mkdir()
    found = there.inbox()
    assert [fork["key"] for fork in found["forks"]] == [there.key("bob")]


def test_a_fork_is_forgotten_by_its_key(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    there.add()
    there.inbox("--fetch")
    assert there.json("inbox", there.pub, "--remove", there.key("bob")[-16:]) == {"removed": there.key("bob")}
    assert list(refs(there, there.pub)) == ["refs/heads/main"]
    assert there.inbox()["forks"] == []
    there.type("inbox", there.pub, "--remove", there.key("bob"), exit_code=2)


def test_a_fork_has_the_offers_of_one_key(there: Offering) -> None:
    there.commit("better", by="bob")
    there.offer()
    assert "has the offers of" in there.offer(by="carol", exit_code=2)


def test_nobody_offers_without_a_catalogue_to_offer_for(there: Offering) -> None:
    assert "holds no catalogue" in there.type("offer", there.work, exit_code=2)
    there.type("init", there.work, "--name", "w", "--sign-key", there.key("alice"), "--gnupg-home", there.keys.home)
    assert "has published nothing yet: gtfs publish" in there.type("inbox", there.work, exit_code=2)


def test_who_only_asks_leaves_nothing_behind(there: Offering) -> None:
    there.type("inbox", there.work, exit_code=2)
    there.type("offer", there.work, exit_code=2)
    assert not (there.work / ".git" / "gtfs").exists()


@pytest.mark.parametrize("name", ["a..b", "with space", "x\x1b[2J", ""])
def test_a_name_that_is_none_is_refused(there: Offering, name: str) -> None:
    there.commit("better", by="bob")
    assert "--to" in there.offer("--to", name, exit_code=2)
    assert not there.catalogue.exists()


@pytest.mark.warns
def test_what_was_refused_by_one_ring_is_judged_again_by_another(there: Offering) -> None:
    tip = there.commit("better", by="carol")
    there.offer()  # in bob's name
    assert the_offer(there.add(exit_code=4))["stage"] == "refused"
    there.trust("carol")
    assert (the_offer(there.inbox())["tip"], the_offer(there.inbox())["stage"]) == (tip, "offered")


def test_a_merge_runs_the_hooks_of_the_repository(there: Offering) -> None:
    hook = there.pub / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ncat > {there.root}/heard\necho "$HOME" >> {there.root}/heard\n')
    hook.chmod(0o755)
    tip = there.commit("better", by="bob")
    there.offer()
    there.add()
    assert the_offer(there.inbox("--merge", "main"))["merged"]
    first, home = (there.root / "heard").read_text().splitlines()
    assert first == f"{there.first} {tip} refs/heads/main"
    assert home == os.environ["HOME"]


def test_the_hooks_of_a_merge_have_none_of_the_settings_that_our_own_git_has(there: Offering) -> None:
    hook = there.pub / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv > {there.root}/heard\n")
    hook.chmod(0o755)
    there.commit("better", by="bob")
    there.offer()
    there.add()
    assert the_offer(there.inbox("--merge", "main"))["merged"]
    heard = {line.partition("=")[0] for line in (there.root / "heard").read_text().splitlines()}
    # With these it could neither push on nor read what its user says of git.
    assert heard.isdisjoint({"GIT_ALLOW_PROTOCOL", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT"})


def test_a_running_publisher_tells_of_each_offer_once_and_of_nothing_that_does_not_hold(
    there: Offering, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, logged = there.root / "heard", []
    monkeypatch.setattr(inboxwatch.events, "info", lambda text, *words: logged.append(text % words))
    hook = there.pub / "gtfs" / "hooks" / "offered"
    hook.parent.mkdir(mode=0o755)
    hook.write_text(
        f'#!/bin/sh\necho "$GTFS_EVENT $GTFS_OFFER_KEY $GTFS_OFFER_REF $GTFS_OFFER_TIP" >>{heard}; cat >>{heard}\n'
    )
    hook.chmod(0o755)

    def look() -> list[str]:
        heard.unlink(missing_ok=True)
        logged.clear()
        with State(open_repository(there.pub)) as state:
            trio.run(look_once, state, NodeOptions(offline=True))
        said = heard.read_text().splitlines() if heard.exists() else []
        assert len(logged) == len([line for line in said if line.startswith("offered ")])
        return said

    assert look() == []
    bob, one = there.key("bob"), there.commit("one", by="bob")
    there.offer()
    there.add()
    assert look() == [f"offered {bob} refs/heads/main {one}", f"{one} {bob} one"]
    assert logged == [f"{there.pub}: {bob} offers refs/heads/main at {one}"]
    assert look() == []  # a State that was opened again is a node that was started again
    two = there.commit("two", by="bob")
    there.offer()
    assert look() == [f"offered {bob} refs/heads/main {two}", f"{two} {bob} two", f"{one} {bob} one"]
    there.type("trust", there.pub, "remove", bob)
    there.commit("three", by="bob")
    there.offer()
    assert look() == []
    assert there.git(there.pub, "rev-parse", "main") == there.first


def test_a_node_looks_into_the_inbox_only_if_it_is_told_to(there: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[NodeOptions] = []

    async def looked(_state: State, options: NodeOptions) -> None:
        looks.append(options)

    monkeypatch.setattr(inboxwatch, "look_once", looked)

    async def main(text: str, repository: Path) -> None:
        with State(open_repository(repository)) as state, trio.move_on_after(2.5):
            await inboxwatch.watch_inbox_task(state, parse([text]).node)

    for text, repository in (("listen=127.0.0.1:7", there.pub), ("inbox=1s,listen=127.0.0.1:7", there.mirror)):
        trio.run(main, text, repository, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not looks
    trio.run(main, "inbox=1s,listen=127.0.0.1:7", there.pub, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(looks) == 3 and {options.swarm.listen for options in looks} == {"127.0.0.1:0"}
