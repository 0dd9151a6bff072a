# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether refs under the policy kind `path` may move (design.md §10): `gtfs.trust.path` in a repository. One thread.

All refs are judged together: history is listed once, each signature is looked at once, and remembered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.signers import Signers
from gtfs.pack.format import BLOB, TREE, CorruptPack
from gtfs.pack.objects import read_commit_names, tree_entries
from gtfs.pack.trees import MissingObject
from gtfs.repo.ancestry import commits_with_parents, peel
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import GitFailed, Repository
from gtfs.trust.keyring import Keyring
from gtfs.trust.path import Kind, StepJudge, find_way, latest_policy
from gtfs.trust.policy import Policy, PolicyRefused, check_tag_name
from gtfs.trust.reason import Reason, refused
from gtfs.trust.verify import At

COMMITS: Final = 1 << 21  # of history between a start and where a ref shall be, whether signed or not

_TREE_BYTES: Final = 64 << 20  # of the top of a commit's tree
_FILES: Final = (b"100644", b"100755", b"100664")  # modes of regular files
_TAGS: Final = b"refs/tags/"


# The files and signers of a policy, and what `latest_policy` says: refs that have them in common are judged alike.
_Rule = tuple[frozenset[str], frozenset[Fingerprint] | None, At, ObjectId | None]


class Journey(NamedTuple):
    """A ref that shall be at ``wanted``, and whence a way must lead there: all of ``starts``."""

    name: bytes
    starts: Sequence[ObjectId]
    wanted: ObjectId
    policy: Policy


class PathJudge:
    """Judges by the keys that are known now; ``own`` is the node's keyring.

    ``is_listed``: an accepted catalogue lists where the refs shall be (see `Policy.at`). ``keep_ways``: say which ways
    were found.
    """

    def __init__(
        self,
        repository: Repository,
        reader: CatFile,
        signers: Signers,
        own: Keyring | None,
        *,
        is_listed: bool,
        keep_ways: bool = False,
    ) -> None:
        self._repository = repository
        self._signers = signers
        self._evidence: dict[At, _Tree] = {at: _Tree(repository, reader, signers, at) for at in ("made", "now")}
        self._is_listed = is_listed
        self._own = own
        self._judges: dict[_Rule, StepJudge] = {}
        self._closed: dict[tuple[_Rule, ObjectId], dict[ObjectId, Reason]] = {}
        self._keep_ways = keep_ways
        self.ways: dict[bytes, list[list[ObjectId]]] = {}  # of the refs that may move, one from each start

    def judge(self, journeys: Sequence[Journey]) -> dict[bytes, Reason]:
        """What stands against each; a ref that is not in the answer may move."""
        try:
            commits = peel(self._repository, {oid for j in journeys for oid in (*j.starts, j.wanted)})
            wanted = [(start, j.wanted) for j in journeys for start in j.starts]
            named = {(commits[a], commits[b]) for a, b in wanted if a in commits and b in commits}
            graph = _Graph(self._repository, {pair for pair in named if pair[0] != pair[1]})
        except GitFailed as e:
            text = f"its history cannot be read: {e}"
            return {j.name: refused("path", j.wanted.hex(), text, "unreadable") for j in journeys}
        against = {}
        for j in journeys:
            try:
                ways = self._check(j, commits, graph)
                if self._keep_ways:
                    self.ways[j.name] = ways
            except PolicyRefused as e:
                against[j.name] = e.to_reason("path", j.wanted)
        return against

    def _check(self, j: Journey, commits: Mapping[ObjectId, ObjectId], graph: _Graph) -> list[list[ObjectId]]:
        if not j.starts:
            raise PolicyRefused(
                "the policy wants a way from where the ref stands, and it is not here yet; give its line the id of a "
                "commit that you trust: root=OID",
                "no-start",
            )
        target = commits.get(j.wanted)
        if target is None:
            raise PolicyRefused("it names no commit that is here", "not-here")
        for start in j.starts:
            if len(start) != len(j.wanted) or commits.get(start) is None:
                text = f"the policy wants a way from {start.hex()}, which is no commit that is here"
                raise PolicyRefused(text, "no-start", start)
            if not graph.leads(commits[start], target):
                if graph.is_cut:
                    text = f"over the limit: {start.hex()} is not among the {COMMITS} newest commits"
                else:
                    text = f"the policy wants a way from {start.hex()}, and it does not descend from that"
                raise PolicyRefused(text, "no-way", start)
        at = j.policy.at(vouched_by_catalogue=self._is_listed)
        evidence = self._evidence[at]
        rule = (j.policy.files, j.policy.signers, at, latest_policy(j.policy, evidence, target))
        judge = self._judges.get(rule)
        if judge is None:
            judge = self._judges[rule] = StepJudge(j.policy, evidence, self._own, rule[3])
        if target != j.wanted:
            if j.name.startswith(_TAGS):
                check_tag_name(self._signers.raw(j.wanted), j.name)
            judge.check_tag(j.wanted, target)
        ways = []
        for start in dict.fromkeys(commits[start] for start in j.starts):
            closed = self._closed.get((rule, start))
            if closed is None:
                closed = self._closed[rule, start] = {}
                self._signers.others.look_up(graph.after(start))
            ways.append(find_way(start, target, _Steps(graph, start, judge), closed))
        return ways


class _Graph:
    """The part of history that lies between starts and places, listed once; without what is beyond COMMITS."""

    def __init__(self, repository: Repository, pairs: Iterable[tuple[ObjectId, ObjectId]]) -> None:
        self.parents: dict[ObjectId, list[ObjectId]] = {}
        self._after: dict[ObjectId, set[ObjectId]] = {}
        self._order: list[ObjectId] = []  # children first
        self._place: dict[ObjectId, int] = {}  # of starts in it
        self.is_cut = False
        left = {start for start, _ in pairs}
        if not left:
            return
        with contextlib.closing(commits_with_parents(repository, {place for _, place in pairs})) as walk:
            for commit, parents in walk:
                self.parents[commit] = parents
                self._order.append(commit)
                if commit in left:
                    left.remove(commit)
                    self._place[commit] = len(self._order)
                self.is_cut = bool(left) and len(self._order) >= COMMITS
                if not left or self.is_cut:
                    break

    def leads(self, start: ObjectId, place: ObjectId) -> bool:
        """Whether ``place`` is the start or descends from it."""
        return start == place or place in self.after(start)

    def after(self, start: ObjectId) -> set[ObjectId]:
        """The commits that descend from ``start``."""
        found = self._after.get(start)
        if found is None:
            found = self._after[start] = set()
            for commit in reversed(self._order[: self._place.get(start, 0)]):
                if any(parent == start or parent in found for parent in self.parents[commit]):
                    found.add(commit)
        return found


class _Steps:
    """History as `find_way` sees it from one start."""

    def __init__(self, graph: _Graph, start: ObjectId, judge: StepJudge) -> None:
        self._graph = graph
        self._start = start
        self._after = graph.after(start)
        self.objection = judge.objection

    def parents(self, commit: ObjectId) -> Sequence[ObjectId]:
        return [p for p in self._graph.parents.get(commit, ()) if p == self._start or p in self._after]


class _Tree:
    """What the commits of this repository show; see `gtfs.trust.path.Evidence`."""

    def __init__(self, repository: Repository, reader: CatFile, signers: Signers, at: At) -> None:
        self._at: At = at
        self._fmt = repository.fmt
        self._reader = reader
        self._signers = signers
        self._files: dict[tuple[ObjectId, str], ObjectId | None] = {}

    def file_id(self, commit: ObjectId, name: str) -> ObjectId | None:
        key = (commit, name)
        if key not in self._files:
            self._files[key] = self._find(commit, name)
        return self._files[key]

    def _find(self, commit: ObjectId, name: str) -> ObjectId | None:
        wanted = name.encode()
        try:
            tree, _ = read_commit_names(self._signers.raw(commit), self._fmt)
            raw = self._reader.read(tree, _TREE_BYTES)
            if raw.kind != TREE or raw.data is None:
                raise PolicyRefused(
                    f"the tree of {commit.hex()} cannot be read, or is too large to look for {name}", "unreadable"
                )
            is_named = b" " + wanted + b"\0" in raw.data
            entries = tree_entries(raw.data, self._fmt) if is_named else ()
            found = [(mode, oid) for mode, entry, oid in entries if entry == wanted]
        except (MissingObject, CorruptPack) as e:
            raise PolicyRefused(f"the tree of {commit.hex()} cannot be read: {e}", "unreadable") from None
        if not found:
            return None
        if len(found) > 1 or found[0][0] not in _FILES:
            raise PolicyRefused(f"{name} is no regular file in {commit.hex()}", "tree-policy")
        return found[0][1]

    def blob(self, oid: ObjectId, limit: int) -> bytes:
        try:
            raw = self._reader.read(oid, limit)
        except MissingObject:
            raise PolicyRefused(f"{oid.hex()} is missing in git", "unreadable", oid) from None
        if raw.kind != BLOB or raw.data is None:
            raise PolicyRefused(f"over the limit: {oid.hex()} is no file of at most {limit} bytes", "limit", oid)
        return raw.data

    def signer(self, oid: ObjectId, kind: Kind) -> Fingerprint:
        return self._signers.signer(oid, kind, self._at)

    def signer_in(self, oid: ObjectId, kind: Kind, ring: Keyring) -> Fingerprint:
        return self._signers.others.signer_in(oid, kind, ring, self._at)

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        return self._signers.others.signing_key(oid)
