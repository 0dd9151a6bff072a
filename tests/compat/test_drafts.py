# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue is drawn, signed by whoever asked for it, and placed only if it is that one and still the next."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import Keys, shared_keys

from gtfs.catalogue.accept import CatalogueRefused
from gtfs.errors import GtfsError
from gtfs.repo.repository import open_repository
from gtfs.state.config import BadConfig
from gtfs.state.due import is_due, published_refs, renewal_in_s
from gtfs.state.foretell import foretell
from gtfs.state.fsck import check
from gtfs.state.initialise import Wanted, answer_init, check_wanted
from gtfs.state.outstanding import note_failure, read_outstanding
from gtfs.state.publish import Draft, Overtaken, draft, place, publish_now
from gtfs.state.state import State
from gtfs.trust.sign import Signer, SigningFailed

WHO = "A U Thor <author@example.org> 1700000000 +0000"


def git(path: Path, *words: str, data: bytes = b"") -> str:
    done = subprocess.run(["git", "--git-dir", path, *words], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def move(path: Path, ref: str, text: str) -> str:
    """One more commit, under a ref."""
    tree = git(path, "mktree")
    had = subprocess.run(["git", "--git-dir", path, "rev-parse", "-q", "--verify", ref], capture_output=True)
    parent = f"parent {had.stdout.decode().strip()}\n" if had.returncode == 0 else ""
    data = f"tree {tree}\n{parent}author {WHO}\ncommitter {WHO}\n\n{text}\n"
    oid = git(path, "hash-object", "-w", "-t", "commit", "--stdin", data=data.encode())
    git(path, "update-ref", ref, oid)
    return oid


@pytest.fixture
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def state(tmp_path: Path, keys: Keys) -> Iterator[State]:
    path = tmp_path / "r.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    move(path, "refs/heads/main", "first")
    wanted = Wanted(name="demo", sign_key=keys["alice"], gnupg_home=keys.home)
    check_wanted(open_repository(path), wanted)
    with State(open_repository(path)) as opened:
        assert answer_init(opened, {"wanted": wanted.to_json()}) == {"repository": "demo"}
        publish_now(opened)
        yield opened
        assert list(check(opened, lambda _d, _t: None)) == []


def drawn(state: State) -> Draft:
    found = draft(state)
    assert isinstance(found, Draft)
    return found


def test_a_draft_that_nobody_signs_leaves_everything_as_it_was(state: State) -> None:
    tip = move(state.repository.path, "refs/heads/main", "more")
    document = state.catalogues.latest.read_bytes()
    drawn(state)
    assert state.catalogues.latest.read_bytes() == document
    assert state.held is not None and state.held.catalogue.version == 1
    done = publish_now(state)
    assert (done.version, done.new_packs, done.refs_moved) == (2, 1, 1)
    assert state.held.catalogue.refs[b"refs/heads/main"].hex() == tip


def test_a_draft_is_placed_only_if_no_other_publish_came_first(state: State) -> None:
    move(state.repository.path, "refs/heads/main", "more")
    late = drawn(state)
    document = late.sign()
    move(state.repository.path, "refs/heads/main", "and more")
    assert publish_now(state).version == 2
    with pytest.raises(Overtaken):
        place(state, late, document)
    assert state.held is not None and state.held.document != document


def test_what_was_signed_is_the_draft_and_nothing_else(state: State, keys: Keys) -> None:
    move(state.repository.path, "refs/heads/main", "more")
    made = drawn(state)
    text = made.catalogue.to_text()
    before = state.catalogues.latest.read_bytes()
    other = Signer(keys["alice"], keys.home).clearsign(text.replace("Valid-Until: 2", "Valid-Until: 3"))
    with pytest.raises(CatalogueRefused, match="another catalogue"):
        place(state, made, other)
    for document in (text.encode(), Signer(keys["mallory"], keys.home).clearsign(text)):
        with pytest.raises(CatalogueRefused):
            place(state, made, document)
    assert state.catalogues.latest.read_bytes() == before
    assert place(state, made, made.sign()).version == 2


def test_what_is_due_follows_the_setting(state: State) -> None:
    path = state.repository.path

    def due() -> bool:
        return is_due(state, published_refs(state))

    move(path, "refs/heads/main", "more")
    assert not due()  # manual
    state.config.set("publish", "tags")
    assert not due()
    git(path, "update-ref", "refs/tags/v1", "refs/heads/main")
    assert due()
    publish_now(state)
    assert not due()
    state.config.set("publish", "auto")
    git(path, "update-ref", "-d", "refs/tags/v1")
    assert due()
    publish_now(state)
    git(path, "update-ref", "refs/other/x", "refs/heads/main")  # which is not published
    assert not due()
    note_failure(state.layout, OSError("full"))
    assert due()
    assert not publish_now(state).is_new
    assert read_outstanding(state.layout) is None and not due()
    state.config.set("publish", "sometimes")
    with pytest.raises(BadConfig, match="not one of auto, tags, manual"):
        due()


def test_a_publish_that_fails_is_outstanding_where_the_repository_publishes_by_itself(state: State) -> None:
    move(state.repository.path, "refs/heads/main", "more")
    home = state.config.get("gnupghome") or ""
    empty = state.layout.root / "empty"
    empty.mkdir(mode=0o700)
    state.config.set("gnupghome", str(empty))
    with pytest.raises(SigningFailed):
        publish_now(state)
    assert read_outstanding(state.layout) is None  # who typed it has heard of it
    state.config.set("publish", "auto")
    for tries in (1, 2):
        with pytest.raises(SigningFailed) as failed:
            publish_now(state)
        found = read_outstanding(state.layout)
        assert found is not None and (found.tries, found.reason) == (tries, str(failed.value))
        assert found.since_s <= found.tried_s
    state.config.set("gnupghome", home)
    assert publish_now(state).version == 2
    assert read_outstanding(state.layout) is None
    subprocess.run(["gpgconf", "--homedir", empty, "--kill", "all"], check=False)


@pytest.mark.parametrize("text", ["", "x", "[]", '{"tries": 1}', '{"since_s": "x", "tried_s": 1, "tries": 1}'])
def test_a_damaged_note_of_a_failure_counts_for_nothing(
    state: State, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    state.layout.outstanding.write_text(text)
    assert read_outstanding(state.layout) is None
    assert "cannot be read" in caplog.text
    caplog.clear()
    assert note_failure(state.layout, OSError("full")).tries == 1
    caplog.clear()


def test_what_a_publish_would_do_is_told_and_nothing_is_written(state: State) -> None:
    path = state.repository.path
    assert foretell(state)["refs"] == []
    tip = move(path, "refs/heads/main", "more")
    git(path, "update-ref", "refs/tags/v1", tip)
    git(path, "update-ref", "refs/tags/tree", git(path, "mktree"))
    found = foretell(state)
    assert (found["version"], found["new_packs"]) == (2, 1)
    assert [(r["ref"], r["to"], r["from"] is None) for r in found["refs"]] == [
        ("refs/heads/main", tip, False),
        ("refs/tags/v1", tip, True),
    ]
    assert [left["first"] for left in found["refs_left_out"]] == ["refs/tags/tree"]
    assert state.index.packs.count() == 1 and state.held is not None and state.held.catalogue.version == 1
    publish_now(state)
    git(path, "update-ref", "refs/heads/main", git(path, "rev-parse", "main^"))
    assert [(r["ref"], r["back"]) for r in foretell(state)["refs"]] == [("refs/heads/main", True)]


def test_settings_for_a_running_node_are_looked_at_again_there(state: State) -> None:
    wanted = Wanted(trackers=("udp://192.0.2.1:1/announce",), publish="auto", limits=("objects=10",), valid_days=3)
    assert Wanted.from_json(wanted.to_json()) == wanted
    answer_init(state, {"wanted": wanted.to_json()})
    assert state.config.get_all("tracker") == ["udp://192.0.2.1:1/announce"]
    assert state.config.publish_mode() == "auto" and state.config.valid_days() == 3
    before = state.layout.config.read_bytes()
    for bad in (
        {"trackers": "udp://x"}, {"trackers": [1]}, {"valid_days": "3"}, {"gnupg_home": 1}, {"publish": "never"},
        {"valid_days": 10**9}, {"refs": [""]}, {"gnupg_home": "/a\0b"}, {"valid_days": True}, {"limits": ["x=1"]},
        {"name": "other"},
    ):  # fmt: skip
        with pytest.raises(GtfsError) as refused:
            answer_init(state, {"wanted": bad})
        assert refused.value.exit_code == 2, bad
    assert state.layout.config.read_bytes() == before


def test_what_publishes_by_itself_signs_anew_when_half_of_the_time_is_left(state: State) -> None:
    assert state.held is not None
    until_s = state.held.catalogue.valid_until_s
    assert renewal_in_s(state, until_s) == math.inf  # manual
    state.config.set("publish", "tags")
    days = 24 * 3600
    assert renewal_in_s(state, until_s - 20 * days) == 5 * days
    assert renewal_in_s(state, until_s - 15 * days) == 0
    state.config.set("validdays", "60")
    assert renewal_in_s(state, until_s - 30 * days) == 0
