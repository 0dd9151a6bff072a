# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks of TUF's list against catalogues and freshness statements, with real signatures."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from pathlib import Path

import pytest
from keys import DAY_S, Keys, now_s, shared_keys

from gtfs.catalogue.accept import Accepted, FirstTrust, WrongSigner, accept
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.freshness import Freshness, FreshnessRefused, NewerExists, accept_freshness
from gtfs.ids import SHA1, ObjectId
from gtfs.repo.repository import create_repository, open_repository
from gtfs.repo.work import Work
from gtfs.state.divergence import why_all_stay
from gtfs.state.freshness import is_stale, refresh, take_freshness
from gtfs.state.initialise import Wanted, make_publisher
from gtfs.state.publish import publish_now
from gtfs.state.state import State


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def text(keys: Keys, version: int = 1, previous: str | None = None, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "repository": "demo",
        "version": version,
        "previous": previous,
        "date_s": now_s() - DAY_S,
        "valid_until_s": now_s() + 30 * DAY_S,
        "signers": (keys["alice"],),
        "freshness": (keys["carol"],),
        "refs": {b"refs/heads/main": ObjectId(b"\1" * 20)},
    }
    return Catalogue(**(fields | changes)).to_text().encode()  # type: ignore[arg-type]


def hold(keys: Keys, document: bytes, held: Accepted | None = None, *first: str) -> Accepted:
    trust = FirstTrust(frozenset(keys[name] for name in first or ("alice",)))
    return accept(document, held, keys.ring, trust, now_s())


@pytest.fixture(scope="module")
def held(keys: Keys) -> Accepted:
    return hold(keys, keys.clearsign(text(keys), "alice"))


def fresh(held: Accepted, **changes: object) -> Freshness:
    said = Freshness("demo", held.catalogue.version, held.digest, now_s() - 60, now_s() + 20 * DAY_S)
    return dataclasses.replace(said, **changes)  # type: ignore[arg-type]


def judge(keys: Keys, held: Accepted, said: Freshness, *names: str) -> Freshness | None:
    return accept_freshness(keys.clearsign(said.to_text().encode(), *names), held, keys.ring, now_s())


def test_a_freshness_key_or_a_signer_may_say_that_the_held_catalogue_is_the_newest(keys: Keys, held: Accepted) -> None:
    said = fresh(held)
    assert judge(keys, held, said, "carol") == said
    assert judge(keys, held, said, "alice") == said


@pytest.mark.parametrize("name", ["bob", "mallory", "expired"])
def test_nobody_else_may_say_so(keys: Keys, held: Accepted, name: str) -> None:
    made_s = now_s() - 3 * 365 * DAY_S + 3600 if name == "expired" else None
    document = keys.clearsign(fresh(held).to_text().encode(), name, time_s=made_s)
    with pytest.raises(FreshnessRefused, match="nobody who may"):
        accept_freshness(document, held, keys.ring, now_s())


def test_wrong_role_a_freshness_key_signs_no_catalogue(keys: Keys, held: Accepted) -> None:
    with pytest.raises(WrongSigner):
        hold(keys, keys.clearsign(text(keys, 2, held.digest), "carol"), held)


def test_one_of_two_needed_signers_says_nothing_of_freshness(keys: Keys) -> None:
    both = (keys["alice"], keys["bob"])
    held = hold(keys, keys.clearsign(text(keys, signers=both, threshold=2), "alice", "bob"))
    with pytest.raises(FreshnessRefused, match="1 of 2"):
        judge(keys, held, fresh(held), "alice")
    assert judge(keys, held, fresh(held), "alice", "bob") is not None
    assert judge(keys, held, fresh(held), "carol") is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repository": "other"}, "it is of other"),
        ({"digest": "0" * 64}, "another catalogue"),
        ({"date_s": 4_000_000_000, "valid_until_s": 4_000_000_001}, "has not come"),
        ({"valid_until_s": 4_000_000_000}, "more than 60 days"),
        ({"valid_until_s": 1}, "not after Date"),
    ],
)
def test_mix_and_match_of_freshness_is_refused(
    keys: Keys, held: Accepted, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(FreshnessRefused, match=words):
        judge(keys, held, fresh(held, **changes), "carol")


def test_freshness_of_an_older_version_is_ignored_and_of_a_newer_one_tells_of_it(keys: Keys, held: Accepted) -> None:
    later = hold(keys, keys.clearsign(text(keys, 2, held.digest), "alice"), held)
    assert judge(keys, later, fresh(held), "carol") is None
    with pytest.raises(NewerExists, match="a newer catalogue exists"):
        judge(keys, held, fresh(later), "carol")


def git(path: Path, *args: str) -> None:
    subprocess.run(["git", "-C", path, *args], capture_output=True, check=True)


@pytest.fixture
def publisher(keys: Keys, tmp_path: Path) -> Path:
    """Version 1, whose time is over tomorrow, with carol's key for freshness."""
    work, bare = tmp_path / "work", tmp_path / "r.git"
    create_repository(bare, SHA1)
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True)
    git(work, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one")
    git(work, "push", "-q", str(bare), "main")
    wanted = Wanted("demo", keys["alice"], (keys["carol"],), gnupg_home=keys.home, valid_days=1)
    make_publisher(open_repository(bare), wanted)
    with State(open_repository(bare)) as state:
        publish_now(state, Work())
    return bare


def test_indefinite_freeze_makes_a_mirror_stale_until_freshness_comes(keys: Keys, publisher: Path) -> None:
    later_s = now_s() + 3 * DAY_S
    with State(open_repository(publisher)) as state:
        assert state.held is not None and state.held.catalogue.freshness == (keys["carol"],)
        assert is_stale(state, later_s)
        done = refresh(state)
        assert done.is_new and not is_stale(state, later_s) and is_stale(state, now_s() + 31 * DAY_S)
        assert not refresh(state).is_new
        assert why_all_stay(state) is None
    with State(open_repository(publisher)) as state:  # kept, and judged again
        assert state.good_until_s() == done.valid_until_s
        kept = state.catalogues.directory / "1.fresh.asc"
        assert kept.read_bytes() == (state.catalogues.directory / "latest.fresh.asc").read_bytes()


def test_kept_freshness_that_does_not_hold_any_more_is_a_hint_only(
    keys: Keys, publisher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with State(open_repository(publisher)) as state:
        assert state.held is not None
        foreign = keys.clearsign(fresh(state.held).to_text().encode(), "mallory")
        state.catalogues.save_freshness(1, foreign)
    with State(open_repository(publisher)) as state:
        assert state.fresh is None and is_stale(state, now_s() + 3 * DAY_S)
    assert "does not count" in caplog.text
    caplog.clear()


def test_a_statement_by_a_clock_that_was_ahead_keeps_no_other_from_being_signed(
    publisher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    with State(open_repository(publisher)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: real() + 20 * DAY_S)
            assert refresh(state).is_new
        assert state.fresh is not None and state.fresh.date_s > now_s() + 19 * DAY_S
        assert refresh(state).is_new and state.fresh.date_s <= now_s()
        assert not refresh(state).is_new


def test_freshness_goes_when_a_newer_version_is_held(publisher: Path) -> None:
    with State(open_repository(publisher)) as state:
        refresh(state)
        publish_now(state, Work(), force=True)
        assert state.fresh is None and not list(state.catalogues.directory.glob("*.fresh.asc"))


def test_a_freshness_key_signs_no_commit_that_nobody_names_it_for(keys: Keys, publisher: Path) -> None:
    with State(open_repository(publisher)) as state:
        assert state.keyring is not None and keys["carol"] in state.keyring.primaries
        assert keys["carol"] not in state.keyring.everybody


def test_freshness_that_says_no_more_is_no_news(keys: Keys, publisher: Path) -> None:
    with State(open_repository(publisher)) as state:
        assert state.held is not None
        document = keys.clearsign(fresh(state.held).to_text().encode(), "carol")
        assert take_freshness(state, document)
        assert not take_freshness(state, document)
