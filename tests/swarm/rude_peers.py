# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that keep to BitTorrent's letter less and less, and a SOCKS5 proxy: small TCP servers on loopback."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from loopback import bdecode, bencode

PROTOCOL = b"\x13BitTorrent protocol"
CHOKE, UNCHOKE, BITFIELD, REQUEST, PIECE, EXTENDED = 0, 1, 5, 6, 7, 20

Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """The port of a server on loopback; a connection that breaks is forgotten."""

    async def one(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            await serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(_listen, one)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _listen(serve: Serve, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
    await trio.serve_tcp(serve, 0, host="127.0.0.1", task_status=task_status)


class Reader:
    """Exact reads of a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._data = b""

    async def take(self, count: int) -> bytes:
        while len(self._data) < count:
            more = await self._stream.receive_some(65536)
            if not more:
                raise EOFError
            self._data += more
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def garbage() -> Serve:
    """Answers a handshake with noise."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await stream.send_all(os.urandom(4096))

    return serve


def claims_all(pieces: int, what: str, info_bytes: int = 0) -> Serve:
    """Shakes hands, says that it has everything, and then: ``chokes`` for ever, is ``silent`` when asked, sends
    ``noise`` in place of pieces, breaks its messages (``endless``), or gives false ``metadata``."""

    async def serve(stream: trio.SocketStream) -> None:
        reader = Reader(stream)
        hello = await reader.take(68)
        extensions = bytearray(8)
        if what == "metadata":
            extensions[5] |= 0x10
        await stream.send_all(PROTOCOL + bytes(extensions) + hello[28:48] + b"-RU0001-" + os.urandom(12))
        bits = bytearray(-(-pieces // 8))
        for piece in range(pieces):
            bits[piece // 8] |= 0x80 >> piece % 8
        if what == "metadata":
            said = bencode({b"m": {b"ut_metadata": 3}, b"metadata_size": info_bytes})
            await stream.send_all(message(EXTENDED, b"\0" + said))
        await stream.send_all(message(BITFIELD, bytes(bits)))
        if what == "endless":
            await stream.send_all(struct.pack(">IB", 0xFFFFFFF0, PIECE) + os.urandom(1 << 16))
            return
        if what != "chokes":
            await stream.send_all(message(UNCHOKE))
        theirs = 0
        while True:
            (length,) = struct.unpack(">I", await reader.take(4))
            if not length:
                continue
            body = await reader.take(length)
            if body[0] == REQUEST and what == "noise":
                piece, begin, size = struct.unpack(">III", body[1:13])
                await stream.send_all(message(PIECE, struct.pack(">II", piece, begin) + os.urandom(size)))
            elif body[0] == EXTENDED and what == "metadata":
                if body[1] == 0:
                    theirs = bdecode(body[2:])[b"m"].get(b"ut_metadata", 0)
                elif theirs:
                    asked = bdecode(body[2:])
                    answer = bencode({b"msg_type": 1, b"piece": asked[b"piece"], b"total_size": info_bytes})
                    noise = os.urandom(min(16384, info_bytes))
                    await stream.send_all(message(EXTENDED, bytes([theirs]) + answer + noise))

    return serve


@asynccontextmanager
async def socks5(connects: list[tuple[str, int]]) -> AsyncIterator[int]:
    """The port of a SOCKS5 proxy without authentication that notes where it was asked to connect to."""

    async def serve(stream: trio.SocketStream) -> None:
        reader = Reader(stream)
        _, methods = await reader.take(2)
        await reader.take(methods)
        await stream.send_all(b"\5\0")
        _, command, _, kind = await reader.take(4)
        if kind == 1:
            host = ".".join(map(str, await reader.take(4)))
        elif kind == 3:
            host = (await reader.take((await reader.take(1))[0])).decode()
        else:
            return
        (port,) = struct.unpack(">H", await reader.take(2))
        if command != 1:
            await stream.send_all(b"\5\7\0\1" + bytes(6))
            return
        connects.append((host, port))
        try:
            other = await trio.open_tcp_stream(host, port)
        except OSError:
            await stream.send_all(b"\5\5\0\1" + bytes(6))
            return
        await stream.send_all(b"\5\0\0\1" + bytes(6))
        await relay(stream, other)

    async with server(serve) as port:
        yield port


async def relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Give each what the other says, until one of them ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, one, other, nursery)
        nursery.start_soon(_pump, other, one, nursery)


async def _pump(source: trio.SocketStream, target: trio.SocketStream, nursery: trio.Nursery) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(65536):
            await target.send_all(data)
    nursery.cancel_scope.cancel()
