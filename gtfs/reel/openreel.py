# SPDX-License-Identifier: GPL-3.0-or-later
"""The open reel: an append-only file of commit packs that no reel holds yet; and reading any reel that is local.

It has no structure of its own: the index knows where each pack lies. The order that survives a crash is the caller's:
append, `OpenReelWriter.sync`, then the index's transaction. What the index does not know is cut off at the next start
(recover.py). The writer may be shared by threads, which take turns; readers need no lock at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from gtfs.durable import sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectFormat, PackDigest
from gtfs.pack.format import HEADER, MAGIC, VERSION, CorruptPack
from gtfs.pack.limits import MIB
from gtfs.reel.table import CorruptReel

COPY_BYTES: Final = MIB
_WOULD_WAIT: Final = (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL)  # the latter: the file system cannot tell


class BrokenWriter(GtfsError):
    """The open reel could not be written earlier; this writer takes nothing more."""

    fault = Blame.SYSTEM

    def __init__(self, path: Path, cause: BaseException) -> None:
        super().__init__(f"{path} could not be written ({cause}); restart gtfs once that is repaired")
        self.path = path


class Appended(NamedTuple):
    """Where a pack went; ``digest`` is the SHA-256 of the bytes as they were written."""

    offset: int
    length: int
    digest: PackDigest


class OpenReelWriter:
    """Appends commit packs. Each is checked to be one (magic, version, trailer) before it counts.

    A failed write, sync or truncation leaves the writer broken: what the disk then holds is only known to
    `recover.recover_open_reel`, after a new start. A pack that is refused (`CorruptPack`) leaves no trace.
    """

    def __init__(self, path: Path, fmt: ObjectFormat) -> None:
        self.path = path
        self._fmt = fmt
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        new = not path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # -1 at rest
        self._size = os.fstat(self._fd).st_size
        self._is_synced = True  # else an error of the disk may still come, and would be lost with the descriptor
        if new:
            sync_directory(path.parent)

    @property
    def size(self) -> int:
        """How many bytes hold packs: the offset that the next pack gets."""
        return self._size

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be appended any more."""
        return self._failure is not None

    def append(self, pack: bytes) -> Appended:
        """Append a whole commit pack."""
        return self.append_chunks((pack,))

    def append_file(self, path: Path, offset: int = 0, length: int | None = None) -> Appended:
        """Append a commit pack that is, or lies in, another file."""
        if length is None:
            length = path.stat().st_size - offset
        return self.append_chunks(file_chunks(path, offset, length)())

    def append_chunks(self, chunks: Iterable[bytes]) -> Appended:
        """Append a commit pack that comes in parts (a stream from the encoder)."""
        with self._lock:
            self._check_usable()
            self._is_synced = False
            offset = self._size
            checker = _PackChecker(self._fmt)
            at = offset
            try:
                for chunk in chunks:
                    checker.update(chunk)
                    at += self._write(chunk, at)
                digest = checker.finish()
            except BaseException:
                self._cut(offset)
                raise
            self._size = at
            return Appended(offset, at - offset, digest)

    def append_run(self, packs: Iterable[tuple[PackDigest, Iterable[bytes]]]) -> list[int]:
        """Append commit packs that come in parts, each with the SHA-256 that it was made with; gives their offsets.

        All of them, or none: raises `CorruptPack` for one that has another.
        """
        with self._lock:
            self._check_usable()
            self._is_synced = False
            offsets: list[int] = []
            parts: list[bytes] = []
            at = end = self._size  # of what is written, and of what was seen
            try:
                for digest, chunks in packs:
                    offsets.append(end)
                    found = hashlib.sha256()
                    for chunk in chunks:
                        found.update(chunk)
                        parts.append(chunk)
                        end += len(chunk)
                        if end - at >= COPY_BYTES:
                            at += self._write(b"".join(parts), at)
                            parts.clear()
                    if found.digest() != digest:
                        raise CorruptPack("a pack is not any more what it was when it was made")
                self._write(b"".join(parts), at)
            except BaseException:
                self._cut(self._size)
                raise
            self._size = end
            return offsets

    def sync(self) -> None:
        """Make everything appended so far durable. A failed fsync is never retried: the kernel forgets the error."""
        with self._lock:
            self._check_usable()
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._failure = error
                raise
            self._is_synced = True

    def rest(self) -> None:
        """Give the descriptor back until the next use, if all of it is on the disk and nobody writes just now."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._failure is None and self._is_synced and self._fd >= 0:
                fd, self._fd = self._fd, -1  # whatever close(2) says, it is not ours any more
                os.close(fd)
        finally:
            self._lock.release()

    def truncate_to(self, offset: int) -> None:
        """Forget the packs from ``offset`` on, durably; the index must already have let go of them.

        New packs will reuse these offsets: who reads by an offset from the index looks it up again after the read.
        """
        with self._lock:
            self._check_usable()
            if not 0 <= offset <= self._size:
                raise ValueError(f"cannot truncate {self._size} bytes to {offset}")
            try:
                os.ftruncate(self._fd, offset)
                os.fsync(self._fd)
            except OSError as error:
                self._failure = error
                raise
            self._size = offset

    def blank(self, places: Iterable[tuple[int, int]]) -> None:
        """Write zeros over packs, given by offset and length, durably: nobody may have them any more."""
        with self._lock:
            self._check_usable()
            try:
                for offset, length in places:
                    for at in range(offset, offset + length, COPY_BYTES):
                        self._write(bytes(min(COPY_BYTES, offset + length - at)), at)
                os.fsync(self._fd)
            except OSError as error:
                self._failure = error
                raise

    def close(self) -> None:
        """Close the file; does not sync."""
        with self._lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)
            self._failure = self._failure or ValueError("closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise BrokenWriter(self.path, self._failure) from self._failure
        if self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                size = os.fstat(self._fd).st_size
                if size != self._size:
                    raise OSError(errno.EIO, f"its size is {size}, and was {self._size}", str(self.path))
            except OSError as error:
                self._failure = error
                raise

    def _write(self, chunk: bytes, at: int) -> int:
        view = memoryview(chunk)
        try:
            while view:
                done = os.pwrite(self._fd, view, at)
                at += done
                view = view[done:]
        except OSError as error:
            self._failure = error
            raise
        return len(chunk)

    def _cut(self, offset: int) -> None:
        try:
            os.ftruncate(self._fd, offset)
        except OSError as error:
            self._failure = self._failure or error


class ReelReader:
    """Reads byte ranges of a local reel file, open or sealed. Any number of threads; the file stays open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def size(self) -> int:
        """The file's size now."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes; raises `CorruptReel` if the file ends before."""
        data = os.pread(self._fd, length, offset)
        if len(data) == length:
            return data
        parts = [data]  # pread gives at most 2 GiB at once
        while data:
            offset += len(data)
            length -= len(data)
            data = os.pread(self._fd, length, offset)
            parts.append(data)
        if length:
            raise CorruptReel(f"{self.path.name} ends {length} bytes before the end of what was asked of it")
        return b"".join(parts)

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The same bytes in parts; raises what `read` does."""
        for at in range(offset, offset + length, COPY_BYTES):
            yield self.read(at, min(COPY_BYTES, offset + length - at))

    def read_nowait(self, offset: int, length: int) -> bytes | None:
        """The same bytes if all of them are in memory, else None: the disk is never waited for."""
        data = bytearray(length)
        try:
            got = os.preadv(self._fd, (data,), offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in _WOULD_WAIT:
                return None
            raise
        return bytes(data) if got == length else None

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def file_chunks(path: Path, offset: int, length: int) -> Callable[[], Iterator[bytes]]:
    """A reader of one range of a file, as `seal.PackToSeal` wants it: each call reads it anew, in parts."""

    def read() -> Iterator[bytes]:
        with contextlib.closing(ReelReader(path)) as reader:
            yield from reader.chunks(offset, length)

    return read


class _PackChecker:
    """Magic, version and trailer of a pack that passes by, and its SHA-256."""

    def __init__(self, fmt: ObjectFormat) -> None:
        self._trailer_bytes = fmt.oid_bytes
        self._trailer_hash = fmt.new(b"")
        self._digest = hashlib.sha256()
        self._head = b""
        self._tail = b""  # the last bytes seen, which may be the trailer

    def update(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        if len(self._head) < HEADER.size:
            self._head += chunk[: HEADER.size - len(self._head)]
        keep = self._trailer_bytes
        if len(chunk) >= keep:
            self._trailer_hash.update(self._tail)
            self._trailer_hash.update(memoryview(chunk)[:-keep])
            self._tail = bytes(chunk[-keep:])
        else:
            joined = self._tail + chunk
            spare = max(0, len(joined) - keep)
            self._trailer_hash.update(joined[:spare])
            self._tail = joined[spare:]

    def finish(self) -> PackDigest:
        if len(self._head) < HEADER.size or HEADER.unpack(self._head)[:2] != (MAGIC, VERSION):
            raise CorruptPack("what should be appended to the open reel does not begin like a pack")
        if self._trailer_hash.digest() != self._tail:
            raise CorruptPack("what should be appended to the open reel does not end with its own hash")
        return PackDigest(self._digest.digest())
