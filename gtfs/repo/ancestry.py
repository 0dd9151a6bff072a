# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of many pairs of commits are ancestor and descendant, by a few git processes however many they are. Any thread.

Tags count as the commits that they name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterable
from typing import Final

from gtfs.ids import ObjectId
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.revlist import in_hex, rev_list

Pair = tuple[ObjectId, ObjectId]  # the older, the newer

_SINGLE: Final = 12  # so many are asked for one by one, which costs no walk of all history


def descending(repository: Repository, pairs: Collection[Pair]) -> set[Pair]:
    """The pairs whose second is the first or descends from it; without those of which git cannot tell."""
    found = {pair for pair in pairs if pair[0] == pair[1]}
    left = [pair for pair in pairs if pair not in found]
    if not left:
        return found
    peeled = peel(repository, {oid for pair in left for oid in pair})
    commits = {pair: (peeled[pair[0]], peeled[pair[1]]) for pair in left if pair[0] in peeled and pair[1] in peeled}
    asked = set(commits.values())
    good = {pair for pair in asked if pair[0] == pair[1]}
    asked -= good
    good |= {p for p in asked if _is_ancestor(repository, p)} if len(asked) <= _SINGLE else _walk(repository, asked)
    return found | {pair for pair, pair_commits in commits.items() if pair_commits in good}


def peel(repository: Repository, oids: Iterable[ObjectId]) -> dict[ObjectId, ObjectId]:
    """The commits that these are or name; what is missing, or names no commit, is left out."""
    ordered = list(oids)
    if not ordered:
        return {}
    asked = b"".join(b"%s^{commit}\n" % oid.hex().encode() for oid in ordered)
    lines = repository.git("cat-file", "--batch-check=%(objectname)", stdin=asked).splitlines()
    return {
        oid: ObjectId(bytes.fromhex(line.decode()))
        for oid, line in zip(ordered, lines, strict=True)
        if len(line) == 2 * repository.fmt.oid_bytes
    }


def _is_ancestor(repository: Repository, pair: Pair) -> bool:
    old, new = pair
    try:
        return not repository.git("rev-list", "--max-count=1", old.hex(), "--not", new.hex()).strip()
    except GitFailed:
        return False


def _walk(repository: Repository, pairs: Collection[Pair]) -> set[Pair]:
    """One walk from all the newer ones, which ends when it has met the last of the older ones."""
    ordered = list(pairs)
    starts: dict[ObjectId, int] = {}  # for each commit a bit for each pair
    goals: dict[ObjectId, list[int]] = {}
    for number, (old, new) in enumerate(ordered):
        starts[new] = starts.get(new, 0) | 1 << number
        goals.setdefault(old, []).append(number)
    good: set[Pair] = set()
    pending: dict[ObjectId, int] = {}
    with contextlib.suppress(GitFailed), contextlib.closing(commits_with_parents(repository, starts)) as walk:
        for commit, parents in walk:
            mask = pending.pop(commit, 0) | starts.get(commit, 0)
            good |= {ordered[number] for number in goals.pop(commit, ()) if mask >> number & 1}
            if not goals:
                break
            for parent in parents:
                pending[parent] = pending.get(parent, 0) | mask
    return good


def commits_with_parents(
    repository: Repository, tips: Iterable[ObjectId], *, parents_first: bool = False
) -> Generator[tuple[ObjectId, list[ObjectId]], None, None]:
    """The commits that the tips reach, children before parents or the reverse, each with its parents.

    Tips that are missing are left out. Raises `GitFailed`.
    """
    order = ["--reverse"] if parents_first else []
    args = ["--topo-order", *order, "--parents", "--ignore-missing"]
    with contextlib.closing(rev_list(repository, args, in_hex(tips))) as lines:
        for line in lines:
            commit, *parents = (ObjectId(bytes.fromhex(word.decode())) for word in line.split())
            yield commit, parents
