# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of catalogues' chunks, ``catalogue/chunks``: files named by their SHA-256 (design.md §5, §7).

What is damaged counts as not being here, and is fetched again. Any thread.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from gtfs.catalogue.reftree import Chunk, RefTree, name_chunk
from gtfs.durable import make_directory, sync_directory, sync_file, temporary_in

_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")


class ChunkStore:
    """The chunks under one directory, which is made when the first one comes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, chunk: Chunk) -> bytes | None:
        """What lies under a chunk's name; None if nothing does, or something else."""
        try:
            # Not blocking: it may be anything that somebody put there.
            fd = os.open(self.directory / chunk.digest, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            data = os.read(fd, chunk.size + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        return data if name_chunk(data) == chunk else None

    def put(self, chunk: Chunk, data: bytes) -> None:
        """Keep what was found to be this chunk; it is durable after `make_durable`. Raises OSError."""
        make_directory(self.directory)
        fd, temporary = temporary_in(self.directory)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            temporary.replace(self.directory / chunk.digest)
        finally:
            temporary.unlink(missing_ok=True)

    def make_durable(self, tree: RefTree, before: Collection[str] = ()) -> None:
        """Have all chunks of a tree here for good; of those ``before``, by digest, that is known. Raises OSError."""
        new = [chunk for chunk in tree.in_order() if chunk.digest not in before]
        for chunk in new:
            if self.get(chunk) is None:
                self.put(chunk, tree.data[chunk.digest])
        for chunk in new:
            sync_file(self.directory / chunk.digest)
        if new:
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def digests(self) -> set[str]:
        """The names of those that are here."""
        try:
            return {path.name for path in self.directory.iterdir() if _NAME.match(path.name)}
        except FileNotFoundError:
            return set()

    def drop(self, digests: Iterable[str]) -> None:
        """Delete these. Raises OSError."""
        for digest in digests:
            (self.directory / digest).unlink(missing_ok=True)
