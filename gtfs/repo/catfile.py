# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects by id through one `git cat-file --batch` process: 40,000 a second in history order (doc/facts.md).

It sees packs that git writes later. One thread for each `CatFile`.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import IO, Final

from gtfs.ids import ObjectId
from gtfs.pack.format import KIND_NUMBERS
from gtfs.pack.trees import MissingObject, RawObject
from gtfs.repo.repository import GitFailed, Repository, git_environment

_CHUNK: Final = 1 << 20
_SKIPPED_BYTES: Final = 1 << 20  # what is not wanted is read up to this size; beyond, another process is cheaper
_KEPT_BYTES: Final = 1 << 16  # of what was read before its time
ASK_MOST: Final = 64  # ids: git's pipe holds them all, so that writing never waits for it
_STREAMED: Final = "core.bigFileThreshold=8m"  # larger objects, unless stored as deltas, git too gives piece by piece
# Otherwise git keeps 96 MiB of bases, and maps packs whole. In history order neither saves time.
_CACHED_BYTES: Final = 16 << 20
_MAPPED: Final = ("-c", "core.packedGitWindowSize=1m", "-c", "core.packedGitLimit=32m")


class CatFile:
    """Reads objects of one repository; a context manager that ends its process, whose cache is ``cached_bytes``."""

    def __init__(self, repository: Repository, cached_bytes: int = _CACHED_BYTES) -> None:
        self._repository = repository
        self._settings = ("-c", _STREAMED, *_MAPPED, "-c", f"core.deltaBaseCacheLimit={cached_bytes}")
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: deque[ObjectId] = deque()  # whose answers come next
        self._ahead: dict[ObjectId, RawObject] = {}  # answers that were in the way of others

    def __enter__(self) -> CatFile:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process; the next read starts another."""
        process, self._process = self._process, None
        self._asked.clear()
        if process is None:
            return
        assert process.stdin and process.stdout
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.stdout.close()
        process.wait()

    def ask(self, oids: Iterable[ObjectId]) -> None:
        """Tell git what is read next, in this order: it looks while we do other things, and both wait less."""
        new = list(islice((oid for oid in oids if oid not in self._ahead), ASK_MOST - len(self._asked)))
        if new:
            self._write(new)
            self._asked += new

    def _write(self, oids: Sequence[ObjectId]) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                self._repository.command(*self._settings, "cat-file", "--batch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=git_environment(),
                bufsize=1 << 16,
            )
        stdin = self._process.stdin
        assert stdin
        with contextlib.suppress(BrokenPipeError):  # the answer will be missed
            stdin.write(b"".join(oid.hex().encode() + b"\n" for oid in oids))
            stdin.flush()

    def _ask(self, oid: ObjectId) -> tuple[int, int, IO[bytes]]:
        self._put_aside(oid if oid in self._asked else None)
        if self._asked:  # else it was not asked for, or git ended on the way
            self._asked.popleft()
            return self._answer(oid)
        self._write((oid,))
        return self._answer(oid)

    def _put_aside(self, before: ObjectId | None) -> None:
        """Read the answers that are in the way, all or those ``before`` that one, and keep the small ones."""
        while self._asked and self._asked[0] != before:
            oid = self._asked.popleft()
            try:
                found = self._take(oid, _KEPT_BYTES, *self._answer(oid))
            except (MissingObject, GitFailed):
                continue  # who wants it asks for it again
            if found.data is not None:
                self._ahead[oid] = found
                if len(self._ahead) > ASK_MOST:
                    del self._ahead[next(iter(self._ahead))]

    def _answer(self, oid: ObjectId) -> tuple[int, int, IO[bytes]]:
        process = self._process
        assert process is not None and process.stdout
        header = process.stdout.readline()
        if not header:
            # git dies, instead of answering "missing", over a promised object it may not fetch.
            failed = self._failed(b"while reading ", oid)
            if self._repository.is_partial() and not failed.was_killed:
                raise MissingObject(oid)
            raise failed
        words = header.split()
        if len(words) != 3:
            raise MissingObject(oid)
        return KIND_NUMBERS[words[1]], int(words[2]), process.stdout

    def _failed(self, where: bytes, oid: ObjectId) -> GitFailed:
        """What to raise of a process whose answer does not come, which has ended."""
        process = self._process
        assert process is not None
        self.close()
        return GitFailed(["cat-file"], process.returncode, b"it ended " + where + oid.hex().encode())

    def read(self, oid: ObjectId, limit: int) -> RawObject:
        """The object, its data left out when longer than ``limit`` bytes; raises `MissingObject`, `GitFailed`."""
        ahead = self._ahead.pop(oid, None)
        if ahead is not None:
            return ahead if ahead.size <= limit else ahead._replace(data=None)
        return self._take(oid, limit, *self._ask(oid))

    def _take(self, oid: ObjectId, limit: int, kind: int, size: int, out: IO[bytes]) -> RawObject:
        if size <= limit:
            data = out.read(size + 1)
            if len(data) != size + 1:
                raise self._failed(b"inside ", oid)
            return RawObject(kind, size, data[:-1])
        if size > _SKIPPED_BYTES:
            self.close()
            return RawObject(kind, size, None)
        for _ in self._chunks(oid, size, out):
            pass
        return RawObject(kind, size, None)

    def stream(self, oid: ObjectId) -> Iterator[bytes]:
        """The object's data in pieces of at most 1 MiB; read it to its end or close the reader."""
        _, size, out = self._ask(oid)
        return self._chunks(oid, size, out)

    def _chunks(self, oid: ObjectId, size: int, out: IO[bytes]) -> Iterator[bytes]:
        left = size
        while left:
            piece = out.read(min(left, _CHUNK))
            if not piece:
                raise self._failed(b"inside ", oid)
            left -= len(piece)
            yield piece
        out.read(1)
