# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of many pairs of commits are ancestor and descendant, by a few git processes however many they are. Any thread.

Tags count as the commits that they name.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Collection, Generator, Iterable
from typing import Final

from gtfs.ids import ObjectId
from gtfs.repo.repository import GitFailed, Repository, git_environment

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
    args = ["rev-list", "--topo-order", *order, "--parents", "--ignore-missing", "--stdin"]
    process = subprocess.Popen(
        repository.command(*args),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=git_environment(),
    )
    try:
        assert process.stdin and process.stdout and process.stderr
        # rev-list reads all of its input before it writes, so this cannot deadlock.
        with contextlib.suppress(BrokenPipeError):  # git has ended, and says why
            process.stdin.write(b"".join(oid.hex().encode() + b"\n" for oid in tips))
            process.stdin.close()
        for line in process.stdout:
            commit, *parents = (ObjectId(bytes.fromhex(word.decode())) for word in line.split())
            yield commit, parents
        said = process.stderr.read()
        if process.wait():
            raise GitFailed(args, process.returncode, said)
    finally:
        process.kill()  # when the caller has heard enough
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
