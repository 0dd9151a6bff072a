# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether objects from elsewhere may come near git (design.md §8.2 end and §8.3).

The fatal list of facts.md and the rules that git lacks; what real history has is only warned about. Bytes come decoded
and hashed from `gtfs.pack.decode`; signatures and refs are other stations' matter. Any thread.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.ingest import gitmodules, names
from gtfs.ingest.headers import BadHeader, check_commit, check_tag
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TAG, TREE, CorruptPack
from gtfs.pack.limits import Limits
from gtfs.pack.objects import TREE_MODES, read_commit_names, read_tag_target, tree_entries

TreeEntry = tuple[bytes, bytes, ObjectId]

GITLINK: Final = b"160000"
SYMLINK: Final = b"120000"
_MODES: Final = frozenset((b"40000", b"100644", b"100755", SYMLINK, GITLINK))
_LEGACY_MODE: Final = b"100664"  # git's first years; warned about
# A zero-padded tree other than 040000, or gitlink, is one thing to git and a blob to design.md §3.1: refused.
_PADDED: Final = frozenset((b"040000", b"0100644", b"0100755", b"0120000", b"0100664"))
_MAX_LINK_BYTES: Final = 4096  # PATH_MAX: a longer target cannot be followed, so it does no harm


class BadObject(CorruptPack):
    """An object that must not come in, and why; git's own name for the fault comes first where it has one."""

    def __init__(self, oid: ObjectId, reason: str, offset: int = 0) -> None:
        super().__init__(f"object {oid.hex()}: {reason}", offset)
        self.oid = oid


def check_object(oid: ObjectId, kind: int, data: bytes, fmt: ObjectFormat, limits: Limits) -> list[str]:
    """Judge one object by itself and give the warnings; raises `BadObject`. Blobs say nothing by themselves."""
    try:
        if kind == TREE:
            return _check_tree(tree_entries(data, fmt), fmt, limits)
        if kind == COMMIT:
            return check_commit(data, fmt)
        if kind == TAG:
            return check_tag(data, fmt)
    except BadHeader as why:
        raise BadObject(oid, str(why)) from None
    except BadObject:
        raise
    except CorruptPack as why:
        raise BadObject(oid, why.reason) from None
    return []


def check_pack(
    name: ObjectId | None,
    decoded: Sequence[Decoded],
    fmt: ObjectFormat,
    limits: Limits,
    *,
    read: Callable[[ObjectId], bytes | None] | None = None,
    warnings: list[str] | None = None,
) -> ObjectId:
    """Judge a whole commit pack: each object, that all hang together, and what links and `.gitmodules` contain.

    ``name`` is the id that the pack's name states. ``read`` gives a blob that ``decoded`` does not hold, or None where
    it is unknown: it is asked for symbolic links and `.gitmodules` files only, also for those outside of the pack.
    Warnings are added to ``warnings`` as "<oid> <text>". Gives the first object's id; raises `BadObject`.
    """
    return _PackCheck(decoded, fmt, limits, read, warnings).run(name)


class _PackCheck:
    """The check of one pack."""

    def __init__(
        self,
        decoded: Sequence[Decoded],
        fmt: ObjectFormat,
        limits: Limits,
        read: Callable[[ObjectId], bytes | None] | None,
        warnings: list[str] | None,
    ) -> None:
        self._decoded = decoded
        self._fmt = fmt
        self._limits = limits
        self._read = read
        self._warnings = warnings
        self._by_oid = {d.oid: d for d in decoded}
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
                except BadHeader as why:
                    raise BadObject(item.oid, str(why), item.entry.offset) from None
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
        if item.kind == TREE:
            entries = tree_entries(data, self._fmt)
            found = _check_tree(entries, self._fmt, self._limits, self._check_special)
            self._follow_tree(item.oid, entries)
        elif item.kind == COMMIT:
            self._name(read_commit_names(data, self._fmt)[0], TREE)
            found = check_commit(data, self._fmt)
        else:
            target, kind = read_tag_target(data, self._fmt)
            if kind != COMMIT:
                self._name(target, kind)
            found = check_tag(data, self._fmt)
        if found and self._warnings is not None:
            self._warnings += [f"{item.oid.hex()} {text}" for text in found]

    def _name(self, oid: ObjectId, kind: int) -> None:
        """Note that an object names ``oid`` as one of ``kind``."""
        there = self._by_oid.get(oid)
        if there is None:
            return
        if there.kind != kind:
            is_a, as_a = KIND_NAMES[there.kind].decode(), KIND_NAMES[kind].decode()
            raise BadObject(oid, f"a {is_a} that is named as a {as_a}", there.entry.offset)
        self._named.add(oid)

    def _follow_tree(self, oid: ObjectId, entries: list[TreeEntry]) -> None:
        by_oid = self._by_oid
        subtrees = self._subtrees[oid] = []
        for mode, _, child in [e for e in entries if e[2] in by_oid]:
            if mode in TREE_MODES:
                self._name(child, TREE)
                subtrees.append(child)
            elif mode != GITLINK:  # a gitlink's commit is another repository's
                self._name(child, BLOB)

    def _check_special(self, what: str, oid: ObjectId) -> str | None:
        """Judge the contents of a symbolic link or a `.gitmodules`; the reason against it, or None."""
        there = self._by_oid.get(oid)
        data = there.data if there is not None else None
        if there is not None and what == SYMLINK_TARGET and there.size > _MAX_LINK_BYTES:
            return None
        if there is not None and there.size > gitmodules.MAX_BYTES:
            return f"gitmodulesLarge: {there.size} bytes"
        if data is None and self._read is not None:
            data = self._read(oid)
        if data is None:
            return None if there is None else f"the {what} {oid.hex()} cannot be read"
        if what == SYMLINK_TARGET:
            return f"a symbolic link into a .git: {data!r}" if names.enters_dotgit(data) else None
        fault, warning = gitmodules.find_fault(data)
        if warning and self._warnings is not None:
            self._warnings.append(f"{oid.hex()} {warning}")
        return fault

    def _check_depth(self) -> None:
        """Hold the longest way down through the pack's own trees to the limit; without recursion, each tree once."""
        depth: dict[ObjectId, int] = {}
        for root in self._subtrees:
            stack = [root]
            while stack:
                oid = stack[-1]
                below = [child for child in self._subtrees[oid] if child not in depth]
                if below and oid not in depth:
                    stack += below
                    continue
                stack.pop()
                if oid not in depth:
                    depth[oid] = 1 + max((depth[child] for child in self._subtrees[oid]), default=0)
                    if depth[oid] > self._limits.tree_depth:
                        raise BadObject(oid, f"over the limit tree_depth: {self._limits.tree_depth}")


SYMLINK_TARGET: Final = "symbolic link"


def _check_tree(
    entries: list[TreeEntry],
    fmt: ObjectFormat,
    limits: Limits,
    check_special: Callable[[str, ObjectId], str | None] | None = None,
) -> list[str]:
    """Warnings about a tree's entries; raises `CorruptPack` with the reason."""
    if not entries:
        return []
    modes, all_names, oids = zip(*entries, strict=True)
    warnings: list[str] = []
    kinds = set(modes)
    odd = kinds - _MODES
    if odd:
        entries, modes = _plain_modes(entries, warnings)
        kinds = set(modes)
    keys = list(all_names)
    if b"40000" in kinds:
        keys = [n + b"/" if m == b"40000" else n for m, n in zip(modes, all_names, strict=True)]
    if keys != sorted(keys):
        raise CorruptPack("treeNotSorted: the entries are not in git's order")
    if len(set(all_names)) != len(entries):
        raise CorruptPack("duplicateEntries: a name stands twice")
    if max(map(len, all_names)) > limits.component_bytes:
        raise CorruptPack(f"over the limit component_bytes: a name of {max(map(len, all_names))} bytes")
    if bytes(fmt.oid_bytes) in oids:
        raise CorruptPack("nullSha1: an entry with the null id")
    if names.any_remarkable(b"\0".join(all_names)):
        _check_names(entries, warnings, check_special)
    if SYMLINK in kinds:
        _check_links(entries, check_special)
    return warnings


def _plain_modes(entries: list[TreeEntry], warnings: list[str]) -> tuple[list[TreeEntry], tuple[bytes, ...]]:
    """The entries with the modes that git reads in them, and those modes."""
    plain: list[TreeEntry] = []
    for mode, name, oid in entries:
        if mode in _PADDED:
            warnings.append(f"zeroPaddedFilemode: {mode.decode()} for {name!r}")
            mode = mode[1:]
        if mode == _LEGACY_MODE:
            warnings.append(f"badFilemode: {mode.decode()} for {name!r}, as early gits wrote it")
        elif mode not in _MODES:
            raise CorruptPack(f"badFilemode: {mode[:20].decode()} for {name!r}")
        plain.append((mode, name, oid))
    return plain, tuple(entry[0] for entry in plain)


def _check_names(
    entries: list[TreeEntry], warnings: list[str], check_special: Callable[[str, ObjectId], str | None] | None
) -> None:
    for mode, name, oid in entries:
        look = names.look_at(name)
        if look is None:
            continue
        if look.fault:
            raise CorruptPack(look.fault)
        if look.control:
            if mode == GITLINK:  # as CVE-2025-48384 did with CR
                raise CorruptPack(f"a submodule in {name!r}, which has control characters")
            warnings.append(f"controlCharacters: {name!r}")
        if look.special and mode == SYMLINK:
            raise CorruptPack(f"{look.special}Symlink: {name!r} is a symbolic link")
        if look.special == names.GITMODULES:
            if mode in (b"40000", GITLINK):
                raise CorruptPack(f"gitmodulesBlob: {name!r} is no file")
            fault = check_special(".gitmodules", oid) if check_special else None
            if fault:
                raise CorruptPack(fault)


def _check_links(entries: list[TreeEntry], check_special: Callable[[str, ObjectId], str | None] | None) -> None:
    """No link leads into a `.git`, and none has the place of a directory where case or composition do not count."""
    directories = {_folded(name): name for mode, name, _ in entries if mode in (b"40000", GITLINK)}
    for mode, name, oid in entries:
        if mode == SYMLINK:
            other = directories.get(_folded(name))
            if other is not None:
                raise CorruptPack(f"the symbolic link {name!r} beside the directory {other!r}")
            fault = check_special(SYMLINK_TARGET, oid) if check_special else None
            if fault:
                raise CorruptPack(fault)


def _folded(name: bytes) -> str:
    return unicodedata.normalize("NFC", name.decode("utf-8", "replace")).casefold()
