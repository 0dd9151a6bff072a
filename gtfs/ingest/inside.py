# SPDX-License-Identifier: GPL-3.0-or-later
"""What symbolic links and special files contain, as far as it can be a fault (`gtfs.ingest.faults`).

Which entries are such is for `gtfs.ingest.checkobjects`. Nothing larger than git itself would follow is read, whether
the pack brought it or another one did before. One thread for each `Inside`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from gtfs.ids import ObjectId
from gtfs.ingest import gitmodules, names
from gtfs.pack.format import CorruptPack
from gtfs.pack.limits import MIB
from gtfs.pack.trees import RawObject

LINK: Final = "symbolic link"

_LINK_BYTES: Final = 4096  # PATH_MAX: a longer target cannot be followed, so it does no harm
_ATTRIBUTES_BYTES: Final = 100 * MIB  # of a .gitattributes, and
_ATTRIBUTES_LINE: Final = 2048  # of a line of it: git's attr.h
_KEPT: Final = 1 << 16  # objects whose faults are remembered

Read: TypeAlias = Callable[[ObjectId, int], RawObject | None]


def _in_attributes(data: bytes) -> tuple[str, ...]:
    """Looks at one place for each line's worth of bytes: a file of 100 MiB may have as many lines."""
    longest = at = 0
    while at < len(data):
        last = data.rfind(b"\n", at, at + _ATTRIBUTES_LINE)
        if last < 0:
            last = data.find(b"\n", at)
            last = len(data) if last < 0 else last
            longest = max(longest, last - at)
        at = last + 1
    return (f"gitattributesLineLength: {longest} bytes",) if longest >= _ATTRIBUTES_LINE else ()


def _in_link(data: bytes) -> tuple[str, ...]:
    fault = names.link_fault(data)
    return (fault,) if fault else ()


_FIND: Final[dict[str, Callable[[bytes], tuple[str, ...]]]] = {
    LINK: _in_link,
    names.GITMODULES: gitmodules.find_faults,
    names.GITATTRIBUTES: _in_attributes,
}
_LARGEST: Final = {
    LINK: _LINK_BYTES,
    names.GITMODULES: gitmodules.MAX_BYTES,
    names.GITATTRIBUTES: _ATTRIBUTES_BYTES,
}
_TOO_LARGE: Final = {names.GITMODULES: "gitmodulesLarge", names.GITATTRIBUTES: "gitattributesLarge"}


class Inside:
    """Finds the faults, and remembers by id what it found: every new tree beside such an entry names it again."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ObjectId], tuple[str, ...]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()

    def faults(self, what: str, oid: ObjectId, read: Read) -> tuple[str, ...]:
        """The faults of the ``what``, `LINK` or one of `names`, with the id ``oid``, each as "name: text".

        ``read`` gives kind and size of it, and, if it has no more bytes than it is asked for, its contents; None where
        it is unknown, which is no fault and is asked again. Raises `CorruptPack` where the contents are not given.
        """
        found = self._found.get((what, oid))
        if found is None:
            raw = read(oid, _LARGEST[what])
            if raw is None:
                return ()
            found = self._judge(what, oid, raw)
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[what, oid] = found
        return found

    def _judge(self, what: str, oid: ObjectId, raw: RawObject) -> tuple[str, ...]:
        if raw.size > _LARGEST[what]:
            return (f"{_TOO_LARGE[what]}: {raw.size} bytes",) if what in _TOO_LARGE else ()
        if raw.data is None:
            raise CorruptPack(f"the {what} {oid.hex()} cannot be read")
        return _FIND[what](raw.data)
