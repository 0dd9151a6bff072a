# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed commits on their way in, where each needs a signature of its own: several are looked for at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from keys import DAY_S, NOW_S, Keys, shared_keys

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.gate import PolicyGate
from gtfs.pack.format import COMMIT
from gtfs.repo.repository import Repository, create_repository, open_repository
from gtfs.state.ring import add
from gtfs.state.state import State
from gtfs.trust import several
from gtfs.trust.policy import PolicyRefused, parse_policy
from gtfs.trust.several import AT_ONCE, SignedRaw

COMMITS = 3 * AT_ONCE
SPOILT = COMMITS - 2


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def sign_commits(repository: Repository, keys: Keys) -> list[ObjectId]:
    """A chain of commits; what SPOILT signs is another commit than it is."""
    tree = repository.git("mktree").strip()
    parent, oids = b"", []
    for number in range(COMMITS):
        who = b"A <a@example.org> %d +0000" % (NOW_S - DAY_S + number)
        head = b"tree " + tree + b"\n" + parent + b"author " + who + b"\ncommitter " + who + b"\n"
        body = b"\ncommit %d\n" % number
        signature = keys.sign(head + body, "alice", time_s=NOW_S - DAY_S).rstrip(b"\n")
        body += b"changed\n" if number == SPOILT else b""
        raw = head + b"gpgsig " + signature.replace(b"\n", b"\n ") + b"\n" + body
        oid = repository.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw).strip()
        oids.append(ObjectId(bytes.fromhex(oid.decode())))
        parent = b"parent " + oid + b"\n"
    repository.git("update-ref", "refs/heads/main", oids[-1].hex())
    return oids


@pytest.fixture(scope="module")
def offered(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    with State(create_repository(tmp_path_factory.mktemp("signed") / "r.git", SHA1)) as state:
        oids = sign_commits(state.repository, keys)
        state.take_up()
        rows = {row.oid: row for row in state.index.packs.open_rows()}
        return [
            Candidate(oid, state.layout.open_reel, rows[oid].offset or 0, rows[oid].size, None, is_ours=True)
            for oid in oids
        ]


def test_signed_commits_come_in_and_what_stands_on_a_spoilt_one_waits(
    offered: list[Candidate], keys: Keys, tmp_path: Path
) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        add(state, [keys.public])
        outcome = state.ingest().run(offered)
        assert outcome.unpacked == [c.oid for c in offered[:SPOILT]]
        assert [c.oid for c, _ in outcome.refused] == [offered[SPOILT].oid]
        assert [c.oid for c, _ in outcome.waiting] == [c.oid for c in offered[SPOILT + 1 :]]
        assert "does not fit the data" in str(outcome.refused[0][1])


def test_several_signatures_are_looked_for_at_a_time(
    offered: list[Candidate], keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, meeting = several.find_signature, threading.Barrier(2, timeout=60)

    def find(*words: Any, **named: Any) -> Any:
        meeting.wait()  # nobody gets on alone
        return real(*words, **named)

    monkeypatch.setattr(several, "find_signature", find)
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        add(state, [keys.public])
        assert len(state.ingest().run(offered[: 2 * AT_ONCE]).unpacked) == 2 * AT_ONCE


def test_what_one_gate_began_to_look_for_says_nothing_to_another(offered: list[Candidate], keys: Keys) -> None:
    oid = offered[0].oid
    raw = open_repository(offered[0].path.parent.parent).git("cat-file", "commit", oid.hex())
    before = PolicyGate([parse_policy("** every-commit")], keyring=keys.ring)
    search = before.search(SignedRaw(oid, "commit", raw), promised=False)
    assert before.judge(COMMIT, raw, promised=False, search=search).kind == "signed"
    after = PolicyGate([parse_policy(f"** every-commit by={keys['bob']}")], keyring=keys.ring)
    with pytest.raises(PolicyRefused, match="may not sign this"):
        after.judge(COMMIT, raw, promised=False, search=search)
