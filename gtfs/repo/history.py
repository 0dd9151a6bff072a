# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits and annotated tags refs reach, parents first; and the refs themselves. Any thread."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

from gtfs.ids import ObjectId
from gtfs.pack.format import TAG
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.plainrefs import read_plain, read_plain_head
from gtfs.repo.repository import Repository
from gtfs.repo.revlist import in_hex, rev_list

TIPS = b"refs/gtfs/tips/"
WAS = b"refs/gtfs/was/"  # then a ref's name without refs/, and an id: where it stood before a forced move
OWN_REFS = b"refs/gtfs/"  # the node's own; never in a catalogue
MISSING = b"missing"

# Lines as git for-each-ref gives them, id and name, and what they say.
Block = tuple[bytes, Mapping[bytes, ObjectId]]
_NEAR: Final = 1 << 16  # bytes of other lines that are looked through for a known block
_MISSED: Final = 64  # blocks that may be gone until the rest is read line by line

_TARGET = re.compile(rb"object ([0-9a-f]{40}(?:[0-9a-f]{24})?)\ntype tag\n")


class Ref(NamedTuple):
    """A ref, its id and the kind of object there (b"commit", b"tag", b"tree", b"blob", or `MISSING`)."""

    name: bytes
    oid: ObjectId
    kind: bytes


def read_refs(repository: Repository, known: Sequence[Block] = ()) -> list[Ref]:
    """Every ref, sorted by name; raises `GitFailed`. ``known``: see `read_places`."""
    return add_kinds(repository, read_places(repository, known))


def read_places(repository: Repository, known: Sequence[Block] = ()) -> dict[bytes, ObjectId]:
    """Where every ref stands, sorted by name, for who needs no kinds; raises `GitFailed`.

    Of ``known`` lines, in order, those that git gives again are not read a second time.
    """
    plain = read_plain(repository)
    if plain is not None:
        return plain
    out = repository.git("for-each-ref", "--format=%(objectname) %(refname)")
    places: dict[bytes, ObjectId] = {}
    at = passed = missed = 0
    for lines, said in known:
        found = at
        if not out.startswith(lines, at):
            # Others may have come before it; a line ends there.
            found = out.find(b"\n" + lines, max(0, at - 1), at + passed + len(lines) + _NEAR) + 1
            if not found:
                passed += len(lines)
                missed += 1
                if missed > _MISSED:
                    break
                continue
            places.update(_read_lines(out[at:found]))
        places.update(said)
        at, passed = found + len(lines), 0
    places.update(_read_lines(out[at:]))
    return places


def _read_lines(out: bytes) -> dict[bytes, ObjectId]:
    n, lines = out.find(b" "), out.splitlines()  # all ids of a repository have one length
    ids = {word: ObjectId(unhexlify(word)) for word in {line[:n] for line in lines}}
    return {line[n + 1 :]: ids[line[:n]] for line in lines}


def add_kinds(repository: Repository, places: Mapping[bytes, ObjectId]) -> list[Ref]:
    """The refs that stand there; raises `GitFailed`."""
    # Asked for the kind by for-each-ref, git opens the object for each ref anew, and gives up over one that is missing.
    ids = list(dict.fromkeys(places.values()))
    asked = b"".join(oid.hex().encode() + b"\n" for oid in ids)
    said = repository.git("cat-file", "--batch-check=%(objecttype)", stdin=asked).splitlines() if ids else []
    kinds = {oid: MISSING if b" " in kind else kind for oid, kind in zip(ids, said, strict=True)}
    found = zip(places, places.values(), map(kinds.__getitem__, places.values()), strict=True)
    # A hundred thousand take a third of the time that Ref's own __new__ does.
    return cast("list[Ref]", list(map(partial(tuple.__new__, Ref), found)))


def read_head(repository: Repository) -> bytes | None:
    """The branch that HEAD names, or None when it is detached."""
    plain = read_plain_head(repository)
    if plain is not None:
        return plain
    out = repository.git("symbolic-ref", "--quiet", "HEAD", check=False).strip()
    return out or None


def read_head_commit(repository: Repository, refs: Iterable[Ref] | None = None) -> ObjectId | None:
    """The commit that HEAD leads to, None where there is none.

    ``refs``: each of the repository but those at what is missing, if they were just read.
    """
    branch = None if refs is None else read_plain_head(repository)
    if refs is not None and branch is not None:
        at = next((ref for ref in refs if ref.name == branch), None)
        if at is None or at.kind == b"commit":
            return None if at is None else at.oid
    return read_commit(repository, "HEAD")


def read_commit(repository: Repository, name: str) -> ObjectId | None:
    """The commit that HEAD, or the ref of this full name, leads to; None where there is none.

    No other ref is taken in its place: rev-parse would take ``refs/tags/NAME``.
    """
    at = repository.git("show-ref", "--verify", "--hash", name, check=False).decode().strip()
    if not at:
        return None
    asked = f"{at}^{{commit}}"
    out = repository.git("rev-parse", "--verify", "--quiet", asked, check=False).strip()
    return ObjectId(bytes.fromhex(out.decode())) if out else None


def commits_reachable(
    repository: Repository, tips: Iterable[ObjectId] | None = None, without: Collection[ObjectId] = ()
) -> Iterator[ObjectId]:
    """Commits reachable from ``tips`` (None: from every ref and HEAD) and not from ``without``, parents first.

    Raises `GitFailed`.
    """
    if tips is None:
        # Not --all, which takes the HEADs of linked work trees along, and ends where one of these is broken.
        tips = _tips(repository, read_refs(repository))
    asked = [*in_hex(tips), *(b"^" + oid for oid in _present(repository, without))]
    # By its commit graph, git would look at every commit younger than that before it gives the first in order.
    settings = ["-c", "core.commitGraph=false"] if without else []
    for line in rev_list(repository, ["--topo-order", "--reverse"], asked, settings=settings):
        yield ObjectId(bytes.fromhex(line.strip().decode()))


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


def history(
    repository: Repository, without: Collection[ObjectId] = (), refs: Collection[Ref] | None = None
) -> Iterator[ObjectId]:
    """Every commit and annotated tag object that ``refs`` (None: any ref, and HEAD) reach, what is needed first.

    What the tips ``without`` reach is left out, as far as they are still there.
    """
    found = [ref for ref in (read_refs(repository) if refs is None else refs) if ref.kind != MISSING]
    tips = _tips(repository, found) if refs is None else {ref.oid for ref in found}
    if tips:
        yield from commits_reachable(repository, tips, without)
    yield from tags_reachable(repository, [ref for ref in found if ref.oid not in without])


def _tips(repository: Repository, refs: Iterable[Ref]) -> set[ObjectId]:
    found = list(refs)
    head = read_head_commit(repository, found)
    return {ref.oid for ref in found if ref.kind != MISSING} | ({head} if head is not None else set())
