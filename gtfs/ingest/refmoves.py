# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 9 of design.md §8 for refs that a catalogue names: which may move, and the move (§10). One thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.ingest.tips import let_go
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import Index
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import OWN_REFS, read_head, read_refs
from gtfs.repo.refs import RefMove, move_refs, set_head
from gtfs.repo.repository import GitFailed, Repository
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy, PolicyRefused, effective_policy, judge_object

NOT_YET = "what it would move to is not verified here yet"


class RefReport(NamedTuple):
    """What came of the refs: how many moved, and why each of the others stays where it is."""

    moved: int
    held_back: dict[bytes, str]


class Demands(NamedTuple):
    """What this node demands of refs; see `gate.PolicyGate` for the fields."""

    local: Sequence[Policy]
    catalogue: Sequence[Policy] | None
    keyring: Keyring | None


def follow_refs(
    repository: Repository,
    index: Index,
    wanted: Mapping[bytes, ObjectId],
    head: bytes | None,
    demands: Demands,
) -> RefReport:
    """Move refs to ``wanted``, as a mirror clone would, where history is here and the policy lets them.

    Refs that an earlier catalogue gave and this one lacks go, if nobody else moved them. Raises `RefsNotMoved`.
    """
    now = {r.name: r.oid for r in read_refs(repository) if not r.name.startswith(OWN_REFS)}
    held = index.held_refs()
    held_back: dict[bytes, str] = {}
    moves: list[RefMove] = []
    with CatFile(repository) as reader:
        judge = _Judge(repository, index, reader, demands)
        for name, oid in wanted.items():
            if now.get(name) == oid:
                continue
            reason = judge.objection(name, now.get(name), oid)
            if reason is None:
                moves.append(RefMove(name, now.get(name), oid))
            else:
                held_back[name] = reason
    gone = [n for n, oid in held.items() if n not in wanted and now.get(n) == oid]
    moves += [RefMove(name, now[name], None) for name in gone]
    # 8 before 9: a start after a crash makes the moves that are recorded here.
    index.change_held_refs({name: oid for name, oid in wanted.items() if name not in held_back}, gone)
    move_refs(repository, moves)
    if head is not None and head in wanted and head not in held_back and read_head(repository) != head:
        set_head(repository, head)
    let_go(repository)
    return RefReport(len(moves), held_back)


def reassert(repository: Repository, index: Index) -> int:
    """Make the recorded moves that a crash prevented: refs that are missing, or stand at an ancestor."""
    now = {r.name: r.oid for r in read_refs(repository)}
    held = {name: oid for name, oid in index.held_refs().items() if now.get(name) != oid}
    with CatFile(repository) as reader:
        moves = [
            RefMove(name, now.get(name), oid)
            for name, oid in held.items()
            if _has(reader, oid) and (name not in now or is_ancestor(repository, now[name], oid))
        ]
    move_refs(repository, moves)
    return len(moves)


def is_ancestor(repository: Repository, old: ObjectId, new: ObjectId) -> bool:
    """Whether a ref may move from ``old`` to ``new`` without losing history; False where git cannot tell."""
    try:
        return not repository.git("rev-list", "--max-count=1", old.hex(), "--not", new.hex()).strip()
    except GitFailed:
        return False


def _has(reader: CatFile, oid: ObjectId) -> bool:
    try:
        reader.read(oid, 0)
    except MissingObject:
        return False
    return True


class _Judge:
    """Says what stands against one move; gpgv runs only for policies that demand signatures."""

    def __init__(self, repository: Repository, index: Index, reader: CatFile, demands: Demands) -> None:
        self._repository = repository
        self._index = index
        self._reader = reader
        self._demands = demands

    def objection(self, name: bytes, old: ObjectId | None, new: ObjectId) -> str | None:
        row = self._index.get(new)
        if row is None or row.state != "unpacked":
            # Without the id, so that many refs that wait for one thing are one line.
            return NOT_YET + (f" ({row.reason})" if row and row.reason else "")
        d = self._demands
        policy = effective_policy(name, d.local, d.catalogue, has_keyring=d.keyring is not None)
        if policy.threshold > 1:
            return f"the policy wants sign-offs by {policy.threshold} attesters, and none have been collected"
        if old is not None and not policy.non_fast_forward and not is_ancestor(self._repository, old, new):
            return f"{new.hex()} does not descend from {old.hex()}, and the policy does not say non-fast-forward"
        check: dict[str, Callable[[bytes, ObjectId, ObjectId | None, Policy], None]] = {
            "tag": self._by_tag,
            "every-commit": self._by_commits,
        }
        try:
            if policy.kind in check:
                check[policy.kind](name, new, old, policy)
        except PolicyRefused as e:
            return e.reason
        return None

    def _raw(self, oid: ObjectId) -> bytes:
        return self._reader.read(oid, 1 << 30).data or b""

    def _signed(self, oid: ObjectId, kind: str, policy: Policy, ref: bytes | None) -> None:
        demanding = Policy(policy.pattern, "every-commit", signers=policy.signers)
        judge_object(
            self._raw(oid), "tag" if kind == "tag" else "commit", demanding, self._demands.keyring,
            now_s=int(time.time()), ref=ref,
        )  # fmt: skip

    def _by_tag(self, name: bytes, new: ObjectId, old: ObjectId | None, policy: Policy) -> None:
        if name.startswith(b"refs/tags/"):
            self._signed(new, "tag", policy, name)
            return
        tags = [oid for oid in self._index.children_of(new) if (row := self._index.get(oid)) and row.kind == 4]
        for tag in tags:
            try:
                self._signed(tag, "tag", policy, None)
            except PolicyRefused:
                continue
            return
        raise PolicyRefused(f"no signed tag names {new.hex()}, and the policy lets branches move to signed tags only")

    def _by_commits(self, name: bytes, new: ObjectId, old: ObjectId | None, policy: Policy) -> None:
        row = self._index.get(new)
        if row is not None and row.kind == 4:
            self._signed(new, "tag", policy, name if name.startswith(b"refs/tags/") else None)
        args = ["rev-list", new.hex(), *(["--not", old.hex()] if old is not None else [])]
        for line in self._repository.git(*args).split():
            oid = ObjectId(bytes.fromhex(line.decode()))
            signoff = self._index.signoff(oid)
            if signoff is None or not signoff.vouch.startswith("signed:"):
                self._signed(oid, "commit", policy, None)
