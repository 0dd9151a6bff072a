# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether objects from elsewhere may come near git (design.md §8.2 end and §8.3).

Finds what `gtfs.ingest.faults` lists, in objects that are decoded and hashed (`gtfs.pack.decode`), and refuses what
that table does not allow them. Signatures and refs are other stations' matter. Any thread.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.ingest import names
from gtfs.ingest.faults import STRANGERS, Finding, Leniency, Severity
from gtfs.ingest.headers import find_in_commit, find_in_tag
from gtfs.ingest.inside import LINK, Inside, Read
from gtfs.ingest.passedtrees import PassedTree, PassedTrees
from gtfs.ingest.treeform import GITLINK, SYMLINK, Marks, TreeForm, has_repeats, plain_mode
from gtfs.pack import compiled
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TAG, TREE, CorruptPack
from gtfs.pack.limits import Limits
from gtfs.pack.objects import TreeEntries, TreeEntry, kind_of_mode, read_commit_names, read_tag_target, tree_entries
from gtfs.pack.trees import RawObject


class BadObject(CorruptPack):
    """An object that must not come in, and why; git's own name for the fault comes first where it has one."""

    def __init__(self, oid: ObjectId, reason: str, offset: int = 0) -> None:
        super().__init__(f"object {oid.hex()}: {reason}", offset)
        self.oid = oid


class _Found(NamedTuple):
    """A fault of a tree, or of the entry ``oid`` of it."""

    text: str
    oid: ObjectId | None = None


def _allowed(oid: ObjectId, found: Sequence[_Found], leniency: Leniency, offset: int = 0) -> list[Finding]:
    """What was found as findings; raises `BadObject` for the first that is not allowed."""
    findings = [Finding(f.oid or oid, f.text) for f in found]
    for finding in findings:
        if not leniency.allows(finding):
            raise BadObject(finding.oid, finding.text, offset)
    return findings


def check_pack(
    name: ObjectId | None,
    decoded: Sequence[Decoded],
    fmt: ObjectFormat,
    limits: Limits,
    *,
    read: Read | None = None,
    inside: Inside | None = None,
    leniency: Leniency = STRANGERS,
    findings: list[Finding] | None = None,
    passed: PassedTrees | None = None,
    deltas: Mapping[int, bytes] = MappingProxyType({}),
) -> ObjectId:
    """Judge a whole commit pack: each object, that all hang together, and what links and `.gitmodules` contain.

    ``name`` is the id that the pack's name states. ``read`` gives what ``decoded`` does not hold, see `Inside.faults`:
    it is asked for symbolic links and `.gitmodules` files only, also for those outside of the pack. ``inside``, of the
    same ingest, remembers what was found in them.
    The faults that the pack may have are added to ``findings``. Gives the first object's id; raises `BadObject`.
    With ``passed``, of the same ingest, only what is new is looked at in a tree whose delta (of ``deltas``, by
    `Entry.offset`) stands on one that passed; what is found is the same, and this pack's own trees are added to it.
    """
    findings = [] if findings is None else findings
    check = _PackCheck(decoded, fmt, limits, read, inside or Inside(), leniency, findings, passed, deltas)
    oid = check.run(name)
    if passed is not None:
        passed.add(check.passing)
    return oid


class _PackCheck:
    """The check of one pack."""

    def __init__(
        self,
        decoded: Sequence[Decoded],
        fmt: ObjectFormat,
        limits: Limits,
        read: Read | None,
        inside: Inside,
        leniency: Leniency,
        findings: list[Finding],
        passed: PassedTrees | None,
        deltas: Mapping[int, bytes],
    ) -> None:
        self.passing: list[tuple[ObjectId, PassedTree]] = []  # what may become a base, if all else is good
        self._passed = passed
        self._deltas = deltas
        self._looked_inside = False
        self._decoded = decoded
        self._fmt = fmt
        self._limits = limits
        self._read = read
        self._inside = inside
        self._leniency = leniency
        self._findings = findings
        self._by_oid = {d.oid: d for d in decoded}
        self._firsts = compiled.first_bytes(self._by_oid)
        self._named: set[ObjectId] = set()  # objects of the pack that another object of it names
        self._subtrees: dict[ObjectId, list[ObjectId]] = {}  # those that are in the pack

    def run(self, name: ObjectId | None) -> ObjectId:
        first = self._decoded[0]
        if first.kind not in (COMMIT, TAG):
            raise BadObject(first.oid, f"the first object is a {KIND_NAMES[first.kind].decode()}")
        if name is not None and first.oid != name:
            raise BadObject(first.oid, f"this is not the pack of {name.hex()}")
        if len(self._by_oid) != len(self._decoded):
            seen: set[ObjectId] = set()
            for item in self._decoded:
                if item.oid in seen:
                    raise BadObject(item.oid, "twice in one pack", item.entry.offset)
                seen.add(item.oid)
        for item in self._decoded:
            if item.kind != BLOB:
                try:
                    self._check(item)
                except BadObject:
                    raise
                except CorruptPack as why:
                    raise BadObject(item.oid, why.reason, item.entry.offset) from None
        # Ids are hashes, so the naming has no cycles: what something else in the pack names hangs on the first object.
        for item in self._decoded[1:]:
            if item.oid not in self._named:
                raise BadObject(item.oid, "nothing else in the pack names it", item.entry.offset)
        if len(self._subtrees) > self._limits.tree_depth:
            self._check_depth()
        return first.oid

    def _check(self, item: Decoded) -> None:
        data = item.data
        assert data is not None  # `decode` holds all but blobs
        found: list[_Found]
        if item.kind == TREE:
            found = self._check_tree(item, data)
        elif item.kind == COMMIT:
            self._name(read_commit_names(data, self._fmt)[0], TREE)
            found = [_Found(text) for text in find_in_commit(data, self._fmt)]
        else:
            target, kind = read_tag_target(data, self._fmt)
            if kind != COMMIT:
                self._name(target, kind)
            found = [_Found(text) for text in find_in_tag(data, self._fmt)]
        if found:
            self._findings += _allowed(item.oid, found, self._leniency, item.entry.offset)

    def _check_tree(self, item: Decoded, data: bytes) -> list[_Found]:
        longest = min(self._limits.component_bytes, names.NAME_BYTES)
        look = compiled.look(data, self._fmt.oid_bytes, longest, self._by_oid, self._firsts)
        if look is not None:
            found = list(dict.fromkeys(_find_in_names(look.remarkable, self._look_inside))) if look.remarkable else []
            if look.has_links:
                found += dict.fromkeys(_find_in_links(tree_entries(data, self._fmt), self._look_inside))
            self._follow_tree(item.oid, look.children)
            return found
        short = self._look_short(item, data)
        entries: Iterable[TreeEntry]
        if short is not None:
            entries, tree = short
            found = []
        else:
            self._looked_inside = False
            entries = tree_entries(data, self._fmt)
            found = list(dict.fromkeys(_find_in_tree(entries, self._fmt, self._limits, self._look_inside)))
            tree = None
            if self._passed is not None and not found and not self._looked_inside:
                tree = self._passed.whole(data, entries)
        if tree is not None:
            self.passing.append((item.oid, tree))
        self._follow_tree(item.oid, dict.fromkeys((kind_of_mode(e[0]), e[2]) for e in entries if e[2] in self._by_oid))
        return found

    def _look_short(self, item: Decoded, data: bytes) -> tuple[list[TreeEntry], PassedTree | None] | None:
        """The entries of a tree that are not its base's, if it can have no fault; None if only the whole tells."""
        base = item.entry.base
        delta = self._deltas.get(item.entry.offset)
        if self._passed is None or base is None or delta is None:
            return None
        return self._passed.look(data, base, delta, self._by_oid)

    def _name(self, oid: ObjectId, kind: int) -> None:
        """Note that an object names ``oid`` as one of ``kind``."""
        there = self._by_oid.get(oid)
        if there is None:
            return
        if there.kind != kind:
            is_a, as_a = KIND_NAMES[there.kind].decode(), KIND_NAMES[kind].decode()
            raise BadObject(oid, f"a {is_a} that is named as a {as_a}", there.entry.offset)
        self._named.add(oid)

    def _follow_tree(self, oid: ObjectId, children: Iterable[tuple[int, ObjectId]]) -> None:
        """Note what a tree names; ``children``: kind and id of its entries that are in the pack."""
        subtrees = self._subtrees[oid] = []
        for kind, child in children:
            if kind == COMMIT:
                continue  # another repository's
            self._name(child, kind)
            if kind == TREE:
                subtrees.append(child)

    def _look_inside(self, what: str, oid: ObjectId) -> Iterator[_Found]:
        """The faults of the contents of a link or special file. What is carried counts where its contents are new."""
        # A .gitattributes that another pack brought is not read.
        self._looked_inside = self._looked_inside or what != names.GITATTRIBUTES
        there = self._by_oid.get(oid)
        if what == names.GITATTRIBUTES and there is None:
            return
        for text in self._inside.faults(what, oid, self._read_object):
            finding = Finding(oid, text)
            if there is not None or finding.fault.severity is not Severity.CARRIED or not self._leniency.promised:
                yield _Found(text, oid)

    def _read_object(self, oid: ObjectId, most: int) -> RawObject | None:
        """For `Inside.faults`: an object of the pack, or another."""
        there = self._by_oid.get(oid)
        held = None if there is None else RawObject(there.kind, there.size, there.data)
        if held is not None and (held.data is not None or held.size > most):
            return held
        return (self._read(oid, most) if self._read is not None else None) or held

    def _check_depth(self) -> None:
        """Hold the longest way down through the pack's own trees to the limit; without recursion, each tree once."""
        depth: dict[ObjectId, int] = {}
        for root in self._subtrees:
            stack = [root]
            while stack:
                oid = stack[-1]
                if oid in depth:
                    stack.pop()
                    continue
                below = dict.fromkeys(child for child in self._subtrees[oid] if child not in depth)
                if below:
                    stack += below
                    continue
                stack.pop()
                depth[oid] = 1 + max((depth[child] for child in self._subtrees[oid]), default=0)
                if depth[oid] > self._limits.tree_depth:
                    raise BadObject(oid, f"over the limit tree_depth: {self._limits.tree_depth}")


LookInside = Callable[[str, ObjectId], Iterator[_Found]]


def _find_in_tree(
    entries: TreeEntries, fmt: ObjectFormat, limits: Limits, look_inside: LookInside | None = None
) -> Iterator[_Found]:
    """The faults of a tree and of what its entries name; raises `CorruptPack` for what nobody can read."""
    form = TreeForm(bytes(fmt.oid_bytes))
    for piece in entries.pieces():
        form.add(piece)
    yield from (_Found(text) for text in form.odd_modes.values())
    if not form.is_sorted:
        yield _Found("treeNotSorted: the entries are not in git's order")
    if has_repeats(entries):
        yield _Found("duplicateEntries: a name stands twice")
    if form.longest > limits.component_bytes:
        yield _Found(f"largePathname: over the limit component_bytes: a name of {form.longest} bytes")
    if form.has_null:
        yield _Found("nullSha1: a submodule at the null id")
    if form.any_remarkable:
        yield from _find_in_names(entries, look_inside)
    if form.has_links:
        yield from _find_in_links(entries, look_inside)


def _find_in_names(entries: Iterable[TreeEntry], look_inside: LookInside | None) -> Iterator[_Found]:
    seen: set[str] = set()  # one of a kind is enough
    for odd_mode, name, oid in entries:
        look = names.look_at(name)
        if look is None:
            continue
        mode = plain_mode(odd_mode)
        texts = [look.fault] if look.fault else []
        if look.control:
            # In submodules as CVE-2025-48384 had CR; real history has them in files.
            submodule = f"submoduleControlCharacters: a submodule in {names.shown(name)}, which has control characters"
            texts.append(submodule if mode == GITLINK else f"controlCharacters: {names.shown(name)}")
        if look.special and mode == SYMLINK:
            texts.append(f"{look.special}Symlink: {names.shown(name)} is a symbolic link")
        for text in texts:
            kind = text.partition(":")[0]
            if kind not in seen:
                seen.add(kind)
                yield _Found(text)
        if look.special in (names.GITMODULES, names.GITATTRIBUTES) and mode != SYMLINK:
            if mode in (b"40000", GITLINK):
                yield _Found(f"{look.special}Blob: {names.shown(name)} is no file", oid)
            elif look_inside is not None:
                yield from look_inside(look.special, oid)


def _find_in_links(entries: TreeEntries, look_inside: LookInside | None) -> Iterator[_Found]:
    """Links in the place of a directory where case or composition do not count, and into a `.git`."""
    beside = next(_find_beside(entries), None)
    if beside is not None:
        yield beside
    if look_inside is not None:
        for mode, _, oid in entries:
            if plain_mode(mode) == SYMLINK:
                yield from look_inside(LINK, oid)


def _find_beside(entries: TreeEntries) -> Iterator[_Found]:
    links: set[str] | None = None  # of a large tree, those whose names may be a directory's
    if not entries.is_small:
        marks, links = Marks(entries.most), set()
        for mode, name, _ in entries:
            if plain_mode(mode) in (b"40000", GITLINK):
                marks.put(_folded(name))
        for mode, name, _ in entries:
            if plain_mode(mode) == SYMLINK and len(links) <= marks.wrong_at_most and marks.has(folded := _folded(name)):
                links.add(folded)
    directories = {}
    for mode, name, _ in entries:
        if plain_mode(mode) in (b"40000", GITLINK):
            folded = _folded(name)
            if links is None or folded in links:
                directories[folded] = name
    if not directories:
        return
    for mode, name, _ in entries:
        if plain_mode(mode) == SYMLINK and (other := directories.get(_folded(name))) is not None:
            link, directory = names.shown(name), names.shown(other)
            yield _Found(f"linkBesideDirectory: the symbolic link {link} beside the directory {directory}")


def _folded(name: bytes) -> str:
    return unicodedata.normalize("NFC", name.decode("utf-8", "replace")).casefold()
