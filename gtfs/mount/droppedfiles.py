# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into ``.gtfs``: a catalogue or a ``.torrent``, kept in memory until it is judged, then gone.

Not the judgement, which is the control directory's own (`tree.ControlTree.take`). A file is judged when it is closed,
one whose name begins with a dot (rsync's, before its rename) when it is renamed. Trio loop only.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, field
from typing import Final

from gtfs.errors import GtfsError
from gtfs.mount.tree import ControlTree

PLACES: Final = frozenset({(), (b"torrents",)})  # below .gtfs, where something may be put
_FILE_BYTES: Final = 16 << 20  # the largest catalogue (design.md §13)
_FILES: Final = 8  # at one time
_NAME_BYTES: Final = 255


@dataclass(eq=False)
class DroppedFile:
    """A file that is being copied in."""

    parts: tuple[bytes, ...]
    data: bytearray = field(default_factory=bytearray)
    time_s: int = 0
    opens: int = 0
    is_judged: bool = False  # the data as they are now were accepted, or that is being found out


@dataclass(eq=False)
class DroppedHandle:
    """One open of it."""

    dropped: DroppedFiles
    file: DroppedFile

    async def read(self, offset: int, length: int) -> bytes:
        """What was written so far."""
        return bytes(self.file.data[offset : offset + length])

    async def write(self, offset: int, data: bytes) -> int:
        """See `DroppedFiles.write`."""
        return self.dropped.write(self.file, offset, data)

    async def flush(self) -> None:
        """See `DroppedFiles.flush`."""
        await self.dropped.flush(self.file)

    async def sync(self, *, data_only: bool) -> None:
        """It is kept in memory until it is judged."""

    async def close(self) -> None:
        """What was judged, or never will be, is forgotten at the last close."""
        self.file.opens -= 1
        if not self.file.opens and not _is_temporary(self.file):
            self.dropped.forget(self.file)


class DroppedFiles:
    """The files that are being copied into ``.gtfs`` at the moment."""

    def __init__(self, control: ControlTree) -> None:
        self._control = control
        self._files: dict[tuple[bytes, ...], DroppedFile] = {}

    def get(self, parts: tuple[bytes, ...]) -> DroppedFile | None:
        """The file at this place."""
        return self._files.get(parts)

    def names(self, parts: tuple[bytes, ...]) -> list[bytes]:
        """Those in a directory: also what was left under a temporary name, so that its owner can remove it."""
        return [place[-1] for place in self._files if place[:-1] == parts]

    def create(self, parts: tuple[bytes, ...]) -> DroppedHandle:
        """A new file, also in the place of what the control directory shows there; raises EPERM, EBUSY, EDQUOT."""
        if parts[:-1] not in PLACES:
            raise OSError(errno.EPERM, "nothing can be put there")
        if parts in self._files:
            raise OSError(errno.EBUSY, "already being written")
        if len(parts[-1]) > _NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        if len(self._files) >= _FILES:
            raise OSError(errno.EDQUOT, "too many files are being copied into .gtfs")
        file = self._files[parts] = DroppedFile(parts, time_s=int(time.time()))
        return self.open(file, writing=True, truncate=False)

    def open(self, file: DroppedFile, *, writing: bool, truncate: bool) -> DroppedHandle:
        """Open a file that is there; raises EBUSY for a second writer."""
        if (writing or truncate) and file.opens:
            raise OSError(errno.EBUSY, "already being written")
        if truncate:
            self.truncate(file, 0)
        file.opens += 1
        return DroppedHandle(self, file)

    def forget(self, file: DroppedFile) -> None:
        """Forget it; open handles keep working on what they hold."""
        if self._files.get(file.parts) is file:
            del self._files[file.parts]

    def write(self, file: DroppedFile, offset: int, data: bytes) -> int:
        """Write all of ``data``; raises EFBIG."""
        if offset + len(data) > _FILE_BYTES:
            raise OSError(errno.EFBIG, "larger than any catalogue")
        if offset > len(file.data):
            file.data.extend(bytes(offset - len(file.data)))
        file.data[offset : offset + len(data)] = data
        file.is_judged = False
        return len(data)

    def truncate(self, file: DroppedFile, size: int) -> None:
        """Set the size; raises EFBIG."""
        if size > _FILE_BYTES:
            raise OSError(errno.EFBIG, "larger than any catalogue")
        del file.data[size:]
        file.data.extend(bytes(size - len(file.data)))
        file.is_judged = False

    async def flush(self, file: DroppedFile) -> None:
        """A descriptor is being closed: judge what is there. Raises the refusal."""
        if not _is_temporary(file):
            await self._judge(file, file.parts)

    async def rename(self, file: DroppedFile, parts: tuple[bytes, ...]) -> None:
        """Give it another name, under which it is judged; raises EPERM and the refusal, upon which nothing changed."""
        if parts[:-1] not in PLACES:
            raise OSError(errno.EPERM, "nothing can be put there")
        if not parts[-1].startswith(b"."):
            await self._judge(file, parts)
        self.forget(file)
        file.parts = parts
        if _is_temporary(file) or file.opens:
            self._files[parts] = file

    async def _judge(self, file: DroppedFile, parts: tuple[bytes, ...]) -> None:
        # At size 0 nothing was written yet: shells close a copy of the descriptor before the first write.
        if file.data and not file.is_judged:
            file.is_judged = True
            try:
                await self._control.take(parts, bytes(file.data))
            except (GtfsError, OSError):
                file.is_judged = False  # who closes it again, or renames it, hears so again
                raise


def _is_temporary(file: DroppedFile) -> bool:
    return file.parts[-1].startswith(b".")
