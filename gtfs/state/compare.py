# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck --against``: whether two repositories have the same refs and the same objects, byte for byte.

Synchronous; ids pass by one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gtfs.ids import ObjectId
from gtfs.pack.format import KIND_NAMES
from gtfs.pack.limits import MIB
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import OWN_REFS, read_head, read_refs
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.revlist import in_hex, rev_list

_SHOWN = 20  # refs that differ
_STEP = 1000


def compare(here: Repository, other: Repository, progress: Callable[[int], None]) -> Iterator[str]:
    """One line for each difference; ``progress`` hears of objects looked at. Raises `GitFailed`, OSError."""
    if here.fmt is not other.fmt:
        yield f"{other.path} is a {other.fmt.name} repository and this is a {here.fmt.name} one"
        return
    yield from _compare_refs(here, other)
    done = 0
    for one, two in ((here, other), (other, here)):
        absent, first = 0, ""
        with KnownObjects(two) as known:
            try:
                for oid in _reached(one):
                    done += 1
                    if oid not in known:
                        absent, first = absent + 1, first or oid.hex()
                    if done % _STEP == 0:
                        progress(done)
            except GitFailed as e:
                yield f"{one.path} lacks something that its refs reach: {e}"
        if absent:
            yield f"{absent} objects of {one.path} are not in {two.path}, {first} first"
    yield from _check_bytes(here, lambda count: progress(done + count))


def _compare_refs(here: Repository, other: Repository) -> Iterator[str]:
    refs = [{r.name: r.oid for r in read_refs(one) if not r.name.startswith(OWN_REFS)} for one in (here, other)]
    differ = [name for name in sorted({*refs[0], *refs[1]}) if refs[0].get(name) != refs[1].get(name)]
    for name in differ[:_SHOWN]:
        one, two = (oid.hex() if oid else "nowhere" for oid in (refs[0].get(name), refs[1].get(name)))
        yield f"{name.decode('utf-8', 'backslashreplace')} is at {one} here and at {two} in {other.path}"
    if differ[_SHOWN:]:
        yield f"{len(differ) - _SHOWN} more refs differ"
    heads = [(read_head(one) or b"(detached)").decode("utf-8", "backslashreplace") for one in (here, other)]
    if heads[0] != heads[1]:
        yield f"HEAD is {heads[0]} here and {heads[1]} in {other.path}"


def _reached(repository: Repository) -> Iterator[ObjectId]:
    """The ids of all that refs other than the node's own reach. Raises `GitFailed`."""
    tips = {ref.oid for ref in read_refs(repository) if not ref.name.startswith(OWN_REFS)}
    for line in rev_list(repository, ["--objects", "--no-object-names"], in_hex(tips)):
        yield ObjectId(bytes.fromhex(line.strip().decode()))


def _check_bytes(repository: Repository, progress: Callable[[int], None]) -> Iterator[str]:
    """Whether the objects of this repository have the contents that their ids say: git looks only when it writes."""
    done = 0
    with CatFile(repository) as reader:
        try:
            for oid in _reached(repository):
                try:
                    if _hash_of(repository, reader, oid) != oid:
                        yield f"{oid.hex()} has other contents in {repository.path} than its id says"
                except (MissingObject, GitFailed):
                    yield f"{oid.hex()} cannot be read in {repository.path}"
                done += 1
                if done % _STEP == 0:
                    progress(done)
        except GitFailed:
            return  # was said


def _hash_of(repository: Repository, reader: CatFile, oid: ObjectId) -> bytes:
    raw = reader.read(oid, MIB)
    if raw.data is not None:
        return repository.fmt.hash_object(KIND_NAMES[raw.kind], raw.data)
    digest = repository.fmt.new(b"%s %d\0" % (KIND_NAMES[raw.kind], raw.size))
    for piece in reader.stream(oid):
        digest.update(piece)
    return digest.digest()
