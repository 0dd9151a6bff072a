# SPDX-License-Identifier: GPL-3.0-or-later
"""A mount with packs in memory, as a program of its own: a test that used its own mount would wait for itself.

A fake pack is the header of a pack, a payload and the SHA-1 trailer; its id is the payload's SHA-1. How it behaves is
said by the payload's first word: slow (a read never ends), offline, forbidden (by policy), waits:<oid> (for a parent).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import struct
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.mount.daemon import StartOutcome, daemonize
from gtfs.mount.lifetime import serve
from gtfs.mount.mount import Mount
from gtfs.mount.mountpoint import check_mountpoint
from gtfs.mount.options import MountOptions, read_options
from gtfs.mount.tree import ControlEntry, Judged, NotLocal, NotTakeable, PackInfo, SpaceStatistics
from gtfs.pack.format import CorruptPack
from gtfs.view.news import TreeCount


def make_pack(payload: bytes) -> tuple[ObjectId, bytes]:
    body = struct.pack(">4sII", b"PACK", 2, 1) + payload
    return ObjectId(hashlib.sha1(payload).digest()), body + hashlib.sha1(body).digest()


def read_pack(path: Path) -> bytes:
    """What begins like a pack: a sparse file of 10 GiB is not read to see that it does not."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            return head + file.read() if head == b"PACK\0\0\0\2" else b""
    except FileNotFoundError:
        return b""


FIRST = b"plain " + bytes(range(256)) * 8192


class PolicyRefused(GtfsError):
    fault = Blame.TRUST


class Store:
    """PackSource, IncomingSink and ControlTree in one."""

    def __init__(self, state: Path) -> None:
        self.directory = state / "incoming"
        self.quarantine = state / "quarantine"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.quarantine.mkdir(exist_ok=True)
        (state / "real").write_bytes(b"real file\n" * 1000)
        self.real = state / "real"
        self.packs: list[tuple[ObjectId, bytes, int, str, int]] = []
        self.gone: set[int] = set()  # rows
        self.news = TreeCount()
        self.is_armed = False
        self.was_listed = trio.Event()
        self.rows_of: dict[ObjectId, int] = {}
        self.listed = trio.Event()
        self.listed.set()
        self.listable = trio.Event()  # what is listed late can be waited for in the listing
        self.more = trio.Event()
        self.lookers = 0
        self.taken: list[str] = []
        self.reads: list[tuple[str, int, int, int]] = []
        self.waiting: dict[ObjectId, Path] = {}
        self.trouble: str | None = None
        self.mount: Mount | None = None
        self.send, self.receive = trio.open_memory_channel[tuple[Path, ObjectId]](1000)

    def add(
        self, payload: bytes, time_s: int = 1_700_000_000, stage: str = "verified", local: int | None = None
    ) -> None:
        oid, data = make_pack(payload)
        self.packs.append((oid, data, time_s, stage, len(data) if local is None else local))
        self.rows_of[oid] = len(self.packs)

    def info_by_row(self, row: int) -> PackInfo | None:
        if not 1 <= row <= len(self.packs) or row in self.gone:
            return None
        oid, data, time_s, stage, local = self.packs[row - 1]
        return PackInfo(row, oid, len(data), time_s, stage, local)

    @property
    def is_listed(self) -> bool:
        return self.listed.is_set()

    async def wait_listed(self) -> None:
        self.lookers += 1
        await self.listed.wait()

    async def wait_known(self, _oid: ObjectId) -> None:
        await self.wait_listed()

    async def wait_listable(self) -> None:
        self.lookers += 1
        await self.listable.wait()

    async def wait_beyond(self, row: int) -> None:
        self.lookers += 1
        while not self.is_listed and row >= len(self.packs):
            await self.more.wait()

    def info(self, oid: ObjectId) -> PackInfo | None:
        row = self.rows_of.get(oid)
        return self.info_by_row(row) if row else None

    def rows(self, after_row: int, limit: int) -> list[PackInfo]:
        if self.is_armed:
            self.was_listed.set()
        found = (self.info_by_row(r) for r in range(after_row + 1, len(self.packs) + 1))
        return list(islice((i for i in found if i is not None), limit))

    async def read(self, oid: ObjectId, offset: int, length: int, *, read_ahead: int, waits: bool) -> bytes:
        _, data, _, stage, _ = self.packs[self.rows_of[oid] - 1]
        self.reads.append((oid.hex(), offset, length, read_ahead))
        kind = data[12:40].split(b" ")[0]
        if stage == "remote" and kind == b"slow":
            await trio.sleep_forever()
        if stage == "remote" and kind == b"offline":
            raise NotLocal
        if kind == b"bug":
            raise KeyError("bug")
        return data[offset : offset + length]

    def xattrs(self, oid: ObjectId) -> dict[bytes, bytes]:
        info = self.info(oid)
        assert info is not None
        return {b"user.gtfs.state": info.stage.encode(), b"user.gtfs.reel": b"ab"}

    def statistics(self) -> SpaceStatistics:
        return SpaceStatistics(1 << 40, 1 << 39, len(self.packs))

    # sink
    def note_trouble(self, text: str | None) -> None:
        self.trouble = text

    async def check(self, path: Path, oid: ObjectId) -> Judged | None:
        data = read_pack(path)
        if not data or hashlib.sha1(data[:-20]).digest() != data[-20:]:
            return None
        payload = data[12:-20]
        refusal: GtfsError | None = None
        if hashlib.sha1(payload).digest() != oid:
            refusal = CorruptPack("the first entry is not the object of the name", 12)
        elif payload.startswith(b"forbidden"):
            refusal = PolicyRefused("not signed by anybody who may")
        if refusal is not None:
            path.rename(self.quarantine / path.name)  # noqa: ASYNC240
            raise refusal
        return Judged(oid)

    def queue(self, path: Path, judged: Judged) -> None:
        self.send.send_nowait((path, judged.oid))

    def withdraw(self, oid: ObjectId) -> bool:
        return True  # what is gone is passed over below

    async def ingest_task(self) -> None:
        async for path, oid in self.receive:
            self.waiting[oid] = path
            again = True
            while again:
                again = False
                for oid, path in list(self.waiting.items()):
                    payload = path.read_bytes()[12:-20] if path.exists() else b""
                    word = payload.split(b" ")[0]
                    if word.startswith(b"waits:") and bytes.fromhex(word[6:].decode()) not in self.rows_of:
                        continue
                    del self.waiting[oid]
                    if payload:
                        self.add(payload)
                        path.unlink()
                        again = True
                        assert self.mount is not None
                        self.mount.pack_changed_nowait(oid)

    def lose(self, rows: range) -> None:
        """These packs are withdrawn, as far as they are there."""
        new = [row for row in rows if row not in self.gone]
        self.gone.update(new)
        self.rows_of = {oid: row for oid, row in self.rows_of.items() if row not in self.gone}
        self.news.packs_gone(new)

    async def lose_listed_task(self) -> None:
        """Once .gtfs/arm was read: all packs are withdrawn as soon as a listing of them was answered."""
        while True:
            await self.was_listed.wait()
            self.was_listed, self.is_armed = trio.Event(), False
            self.lose(range(1, len(self.packs) + 1))

    # control tree
    async def take(self, parts: tuple[bytes, ...], document: bytes) -> None:
        if document.startswith(b"forbidden"):
            raise PolicyRefused("not signed by anybody who may")
        if not document.startswith(b"good"):
            raise NotTakeable("nothing that is known here")
        self.taken.append(parts[-1].decode())

    def look(self, parts: tuple[bytes, ...]) -> ControlEntry | None:
        if parts in ((), (b"refs",)):
            return ControlEntry("dir")
        if parts == (b"refs", b"main"):
            return ControlEntry("link", target=b"../../" + self.packs[0][0].hex().encode() + b".pack")
        if parts == (b"status",):
            return ControlEntry("file", size=0, read=self.status)
        if parts == (b"real",):
            return ControlEntry("file", size=self.real.stat().st_size, path=self.real)
        if parts == (b"ranged",):
            return ControlEntry("file", size=100_000, read_at=self.ranged)
        if parts == (b"slow",):
            return ControlEntry("file", size=2, read=self.slow)
        if parts == (b"hidden",):
            return ControlEntry("file", size=2, read=self.hidden)
        if parts in ((b"come",), (b"begin",)):
            return ControlEntry("file", size=2, read=self.come if parts == (b"come",) else self.begin)
        if parts in ((b"arm",), (b"lose",)):
            return ControlEntry("file", size=2, read=self.arm if parts == (b"arm",) else self.lose_later)
        return None

    def names(self, parts: tuple[bytes, ...]) -> list[bytes]:
        return [b"refs", b"status", b"real", b"ranged"] if parts == () else [b"main"]

    async def status(self) -> bytes:
        return json.dumps(
            {
                "packs": len(self.packs),
                "reads": self.reads,
                "taken": self.taken,
                "trouble": self.trouble,
                "lookers": self.lookers,
            }
        ).encode()

    async def hidden(self) -> bytes:
        return b"hi"

    async def come(self) -> bytes:
        """The packs become known, those that are not yet."""
        if self.packs:
            self.packs.pop(0)
        fill(self, 0)
        self.listed.set()
        self.listable.set()
        self.more.set()
        return b"ok"

    async def arm(self) -> bytes:
        """Eight more packs come, and `lose_listed_task` is to take all."""
        for _ in range(8):
            self.add(b"armed %d" % len(self.packs))
        self.is_armed = True
        return b"ok"

    async def lose_later(self) -> bytes:
        """The packs of rows 500 to 600 are withdrawn."""
        self.lose(range(500, 601))
        return b"ok"

    async def begin(self) -> bytes:
        """The first of them becomes known."""
        self.add(FIRST)
        self.listable.set()
        self.more.set()
        self.more = trio.Event()
        return b"ok"

    async def slow(self) -> bytes:
        return await self.read(make_pack(b"slow remote")[0], 0, 10, read_ahead=0, waits=True)

    async def ranged(self, offset: int, length: int) -> bytes:
        return (b"0123456789" * 10_000)[offset : offset + length]


def fill(store: Store, many: int) -> None:
    store.add(FIRST)
    store.add(b"slow remote", stage="remote", local=0)
    store.add(b"offline remote", stage="remote", local=4)
    store.add(b"old", time_s=-315619200)
    store.add(b"bug here", time_s=1 << 62)
    store.add(b"lazy " + b"x" * 5_000_000, stage="remote", local=0)
    for i in range(many):
        store.add(b"many %d" % i)


async def run(args: argparse.Namespace, ready: Callable[[], None]) -> int:
    options = MountOptions(**read_options(args.o)[MountOptions])
    mountpoint = check_mountpoint(Path(args.mountpoint))
    store = Store(Path(args.state))
    if args.late:
        store.listed = trio.Event()
    else:
        fill(store, args.many)
    mount = store.mount = Mount(store, store, store, options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.ingest_task)
        nursery.start_soon(store.lose_listed_task)
        nursery.start_soon(mount.watch_news_task, store.news)
        ended = await serve(mount, mountpoint, options, source="fake, ä", on_mounted=ready)
        nursery.cancel_scope.cancel()
    print("ended by", ended.name if ended else "unmount", file=sys.stderr, flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint")
    parser.add_argument("state")
    parser.add_argument("-o", default="")
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--late", action="store_true", help="packs are known once .gtfs/come was read")
    parser.add_argument("--daemon", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    daemon = None
    if args.daemon:
        args.state = os.path.abspath(args.state)
        outcome = daemonize()
        if isinstance(outcome, StartOutcome):
            print(outcome.message, file=sys.stderr)
            return outcome.exit_code
        daemon = outcome

    def ready() -> None:
        if daemon is not None:
            Path(args.state, "pid").write_text(str(os.getpid()))
            daemon.let_go(Path(args.state, "log"))
            daemon.ready()
        else:
            print("mounted", flush=True)

    try:
        return trio.run(run, args, ready)
    except* GtfsError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, GtfsError)
        if daemon is not None:
            daemon.fail(str(error), error.exit_code)
        print(error, file=sys.stderr)
        code = error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
