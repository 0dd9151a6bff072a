# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits and annotated tags refs reach, parents first; and the refs themselves. Any thread."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.format import TAG
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import GitFailed, Repository, git_environment

TIPS = b"refs/gtfs/tips/"
OWN_REFS = b"refs/gtfs/"  # the node's own; never in a catalogue

_TARGET = re.compile(rb"object ([0-9a-f]{40}(?:[0-9a-f]{24})?)\ntype tag\n")


class Ref(NamedTuple):
    """A ref, its id and the kind of object there (b"commit", b"tag", b"tree", b"blob"; b"missing" if git lost it)."""

    name: bytes
    oid: ObjectId
    kind: bytes


def read_refs(repository: Repository) -> list[Ref]:
    """Every ref, sorted by name; raises `GitFailed`."""
    try:
        out = repository.git("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)")
    except GitFailed:  # it stops at the first ref whose object is gone
        out = _refs_and_kinds(repository)
    refs = []
    for line in out.splitlines():
        oid, kind, name = line.split(b" ", 2)
        refs.append(Ref(name, ObjectId(bytes.fromhex(oid.decode())), kind))
    return refs


def _refs_and_kinds(repository: Repository) -> bytes:
    lines = repository.git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    asked = b"".join(line.split(b" ", 1)[0] + b"\n" for line in lines)
    answers = repository.git("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).splitlines()
    return b"".join(b"%s %s\n" % (a, line.split(b" ", 1)[1]) for a, line in zip(answers, lines, strict=True))


def read_head(repository: Repository) -> bytes | None:
    """The branch that HEAD names, or None when it is detached."""
    out = repository.git("symbolic-ref", "--quiet", "HEAD", check=False).strip()
    return out or None


def commits_reachable(
    repository: Repository, tips: Iterable[ObjectId] | None = None, without: Collection[ObjectId] = ()
) -> Iterator[ObjectId]:
    """Commits reachable from ``tips`` (None: from every ref) and not from ``without``, parents before children.

    Raises `GitFailed`.
    """
    args = [
        "rev-list",
        "--topo-order",
        "--reverse",
        *(["--ignore-missing", "--all"] if tips is None else []),
        "--stdin",
    ]
    lines = [oid.hex().encode() + b"\n" for oid in tips or ()]
    lines += [b"^" + oid + b"\n" for oid in _present(repository, without)]
    # By its commit graph, git would look at every commit younger than that before it gives the first in order.
    settings = ["-c", "core.commitGraph=false"] if without else []
    process = subprocess.Popen(
        repository.command(*settings, *args),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=git_environment(),
    )
    with process:
        assert process.stdin and process.stdout and process.stderr
        # rev-list reads all of its input before it writes, so this cannot deadlock.
        process.stdin.write(b"".join(lines))
        process.stdin.close()
        for line in process.stdout:
            yield ObjectId(bytes.fromhex(line.strip().decode()))
        said = process.stderr.read()
    if process.returncode:
        raise GitFailed(args, process.returncode, said)


def _present(repository: Repository, oids: Collection[ObjectId]) -> list[bytes]:
    """Those that the repository has, in hex: what a ref named once may be pruned."""
    if not oids:
        return []
    asked = b"".join(oid.hex().encode() + b"\n" for oid in oids)
    out = repository.git("cat-file", "--batch-check=%(objectname)", stdin=asked)
    return [line for line in out.splitlines() if not line.endswith(b" missing")]


def tags_reachable(repository: Repository, refs: Iterable[Ref]) -> list[ObjectId]:
    """The annotated tag objects that the refs name, and those that these name, innermost first."""
    found: dict[ObjectId, None] = {}
    with CatFile(repository) as reader:
        for ref in refs:
            chain = []
            oid = ref.oid
            kind = ref.kind
            while kind == b"tag" and oid not in found:
                chain.append(oid)
                try:
                    raw = reader.read(oid, 1 << 30)
                except MissingObject:
                    break
                match = _TARGET.match(raw.data or b"") if raw.kind == TAG else None
                if match is None:
                    break
                oid = ObjectId(bytes.fromhex(match[1].decode()))
            found.update(dict.fromkeys(reversed(chain)))
    return list(found)


def history(repository: Repository, without: Collection[ObjectId] = ()) -> Iterator[ObjectId]:
    """Every commit and annotated tag object reachable from any ref, what is needed first.

    What the tips ``without`` reach is left out, as far as they are still there.
    """
    yield from commits_reachable(repository, without=without)
    yield from tags_reachable(repository, [ref for ref in read_refs(repository) if ref.oid not in without])


def read_tips(repository: Repository) -> frozenset[ObjectId]:
    """What `history` starts from, apart from the node's own refs; raises `GitFailed`."""
    head = repository.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).strip()
    tips = {ref.oid for ref in read_refs(repository) if not ref.name.startswith(OWN_REFS)}
    return frozenset(tips | ({ObjectId(bytes.fromhex(head.decode()))} if head else set()))
