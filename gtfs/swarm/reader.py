# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of pieces that are here, never unhashed, and the read-ahead of one torrent.

A piece that just came is taken from libtorrent's buffers, since the file may lag behind (facts.md); any other is read
from the file, the first time whole and against its hash, since the file may have been damaged while nobody looked.
Trio loop; the file is read in threads.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import trio

from gtfs.swarm import files
from gtfs.swarm.link import Link
from gtfs.swarm.pieces import AHEAD, Board, NotHere, SwarmError

FRESH_BYTES = 16 << 20  # kept in memory after they came
AHEAD_BYTES = 32 << 20  # wanted at once by all read-ahead of a torrent
AHEAD_S = 30.0  # how long read-ahead that nobody came for stays wanted
TRIES = 3

T = TypeVar("T")


class PieceReader:
    """Reads pieces of the file ``path`` that the board says are here; ``mend`` makes it true again."""

    def __init__(
        self,
        path: Path,
        piece_length: int,
        board: Board,
        link: Link,
        disk: trio.CapacityLimiter,
        mend: Callable[[int], Awaitable[None]],
        *,
        is_vouched: bool,
    ) -> None:
        self.is_vouched = is_vouched  # all of it is here because the owner said so, whatever libtorrent thinks
        self.hashes: tuple[bytes, ...] = ()
        self.last_used: dict[int, float] = {}
        self._path = path
        self._piece_length = piece_length
        self._board = board
        self._link = link
        self._disk = disk
        self._mend = mend
        self._mending = trio.Lock()
        self._fresh: OrderedDict[int, bytes] = OrderedDict()
        self._sound: set[int] = set()  # pieces that were read from the file with the right hash
        self._ahead: OrderedDict[int, float] = OrderedDict()  # piece: when its read-ahead runs out

    def trust_all(self) -> None:
        """The whole file was verified by its owner: no piece needs hashing."""
        self._sound.update(range(self._board.count))

    def forget_all(self) -> None:
        """The file is being checked: nothing known about it holds."""
        self.is_vouched = False
        self._fresh.clear()
        self._sound.clear()

    def forget(self, piece: int) -> None:
        """The piece is being written anew."""
        self._sound.discard(piece)

    def keep(self, piece: int, data: bytes) -> None:
        """Remember a piece that libtorrent just gave, if its hash is right."""
        if not self.hashes or hashlib.sha1(data).digest() != self.hashes[piece]:
            return
        self._fresh[piece] = data
        while len(self._fresh) * self._piece_length > FRESH_BYTES and len(self._fresh) > 1:
            self._fresh.popitem(last=False)

    async def read(self, piece: int, start: int, end: int, *, waits: bool = True) -> bytes:
        """The bytes of the file from ``start`` to ``end`` that lie in this piece, once it is here.

        Without ``waits`` it raises `NotHere` where it is not.
        """
        self.last_used[piece] = trio.current_time()
        begin = piece * self._piece_length
        low, high = max(start - begin, 0), min(end - begin, self._piece_length)
        for _ in range(TRIES):
            if not waits and not self._board.is_here(piece):
                raise NotHere(f"{self._path.name}: piece {piece} is not here")
            await self._board.wait_held(piece)
            fresh = self._fresh.get(piece)
            if fresh is not None:
                return fresh[low:high]
            if piece in self._sound:
                data = await self._in_thread(files.read_at, self._path, begin + low, high - low)
                if len(data) == high - low:
                    return data
                self._sound.discard(piece)
            whole = await self._read_whole(piece)
            if whole is not None:
                return whole[low:high]
            async with self._mending:
                if self._board.is_here(piece):
                    await self._mend(piece)
        raise SwarmError(f"{self._path.name}: piece {piece} cannot be read back from disk")

    async def _read_whole(self, piece: int) -> bytes | None:
        """A piece that is here, hash checked, or None if neither the file nor libtorrent has it."""
        begin = piece * self._piece_length
        sha1 = self.hashes[piece]
        data = await self._in_thread(files.read_hashed, self._path, begin, self._piece_length, sha1)
        if data is not None:
            self._sound.add(piece)
            self.keep(piece, data)
            return data
        data = await self._link.ask(f"piece {piece}", "read_piece", piece)
        return data if data is not None and hashlib.sha1(data).digest() == sha1 else None

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(work, *arguments, limiter=self._disk)

    # Read-ahead

    def want_ahead(self, pieces: Iterable[int]) -> list[int]:
        """Want pieces for a while; those that became wanted by this call, for `drop_ahead`."""
        added = []
        for piece in pieces:
            if self._board.is_here(piece):
                continue
            if piece not in self._ahead:
                self._board.want((piece,), AHEAD)
                added.append(piece)
            self._ahead[piece] = trio.current_time() + AHEAD_S
            self._ahead.move_to_end(piece)
        while len(self._ahead) * self._piece_length > AHEAD_BYTES:
            self.drop_ahead((next(iter(self._ahead)),))
        return added

    def drop_ahead(self, pieces: Iterable[int]) -> None:
        """Stop wanting these; not those that another call already dropped."""
        for piece in pieces:
            if self._ahead.pop(piece, None) is not None:
                self._board.unwant((piece,), AHEAD)

    def tick(self) -> None:
        """Drop the read-ahead that came or that nobody came for, and what the file has as well."""
        if self._fresh and self._board.is_full():
            self._fresh.clear()  # a file that is still stale does not have the hash
        if not self._ahead:
            return
        now = trio.current_time()
        self.drop_ahead([p for p, end_s in self._ahead.items() if end_s <= now or self._board.is_here(p)])
