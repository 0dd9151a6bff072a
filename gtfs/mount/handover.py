# SPDX-License-Identifier: GPL-3.0-or-later
"""When a written file is a pack: whole, accepted by the sink, and then handed over (design.md §9 "Writing").

Not the judgement of what is in it (design.md §8), nor whether it is all there: that is the sink's. Trio loop.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, NoReturn

import trio

from gtfs.errors import GtfsError, without_frames
from gtfs.ids import ObjectId, pack_name, parse_pack_name
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.incomingfile import IncomingFile, IncomingHandle
from gtfs.mount.tree import VERIFIED_STAGES, IncomingSink, PackInfo, PackSource
from gtfs.pack.format import CorruptPack

log = logging.getLogger(__name__)

_IDLE_S: Final = 1.5


class Handover:
    """The way of written files to the sink."""

    def __init__(self, files: IncomingFiles, source: PackSource, sink: IncomingSink) -> None:
        self._files = files
        self._source = source
        self._sink = sink
        self._written = trio.Event()
        files.disk.on_trouble = sink.note_trouble

    async def approve(self, file: IncomingFile, oid: ObjectId) -> bool:
        """Whether ``file`` is whole and the sink accepts it as the pack of ``oid``.

        False while it is not whole or still changing. Raises the sink's refusal, also again for the same contents, and
        what kept it from judging, for another try.
        """
        async with file.check_lock:
            if file.judged is not None and file.judged.oid == oid:
                return True
            generation = file.generation
            if file.refused == generation and file.refusal is not None:
                raise without_frames(file.refusal)
            if file.name is None:
                return False
            path = self._files.path(file)
            try:
                judged = await self._sink.check(path, oid)
            except GtfsError as refusal:
                if not refusal.fault.is_refusal:  # the machine's failure says nothing of the contents
                    log.warning("cannot check %s: %s", pack_name(oid), refusal)
                    raise
                log.warning("refused %s: %s", pack_name(oid), refusal)
                file.refused, file.refusal = generation, refusal
                self._files.drop_if_gone(file)
                raise without_frames(refusal) from None
            if judged is None or file.generation != generation or file.name is None:
                return False
            file.judged = judged
            return True

    async def begin_anew(self, info: PackInfo) -> NoReturn:
        """A file of its own for who would write what is listed and was not verified here: by another way it may come.

        Raises ESTALE, which lets the kernel look the name up again, and open that file; EPERM for what was verified.
        """
        if info.stage in VERIFIED_STAGES:
            raise OSError(errno.EPERM, "verified")
        name = pack_name(info.oid).encode()
        if self._files.get(name) is None:
            await self._files.contents.close(await self._files.create(name, 0o644, writing=False))
        raise OSError(errno.ESTALE, "to be written anew")

    async def flush(self, handle: IncomingHandle) -> None:
        """A descriptor is being closed: the only moment at which its writer hears what is wrong."""
        file = handle.file
        if not handle.writing:
            return
        handle.flushed = True
        oid = parse_pack_name(file.name) if file.name is not None else None
        # At size 0 nothing was written yet: shells close a copy of the descriptor before the first write.
        if oid is None or file.size == 0 or file.queued:
            if file.name is None and file.refusal is not None:
                raise without_frames(file.refusal)
            return
        if not await self.approve(file, oid) and file.straight:
            log.info("%s is not a whole pack", pack_name(oid))
            raise _not_whole(file)

    async def release(self, handle: IncomingHandle) -> None:
        """A handle is gone; after the last that could write, a whole pack goes to the sink."""
        self._files.contents.closing(handle)
        try:
            if handle.writing:
                await self._hand_over_if_whole(handle.file)
        finally:
            await self._files.contents.close(handle)
        await self.remove_if_void(handle.file)

    async def remove_if_void(self, file: IncomingFile) -> None:
        """Remove a file that nobody has open and that only stands in the way of the pack of its name.

        Nothing was written to it: the listed pack shows again. Or the pack was verified by another way, so that its
        name shows the pack, and nobody can go on writing this, nor remove it.
        """
        oid = parse_pack_name(file.name) if file.name is not None else None
        info = self._source.info(oid) if oid is not None else None
        if oid is None or info is None or file.handles or file.queued:
            return
        generation = file.generation
        # What is whole is the sink's to take away: after a crash it may have steps left to do.
        if file.size and (info.stage not in VERIFIED_STAGES or await self.approve(file, oid)):
            return
        async with file.check_lock:
            is_same = file.name == pack_name(oid).encode() and file.generation == generation
            if is_same and not file.handles and not file.queued:
                await self._files.unlink(file)

    async def watch_task(self) -> None:
        """Hand over what became whole and is left alone, though its writer, as aria2 and others, keeps it open.

        From then on that writer gets EBUSY; what it reads stays what it wrote.
        """
        looked: dict[IncomingFile, int] = {}
        while True:
            await self._written.wait()
            self._written = trio.Event()
            await trio.sleep(_IDLE_S)
            open_files = [f for f in self._files.being_written() if f.generation and not f.queued]
            looked = {f: g for f, g in looked.items() if f in open_files}
            for file in open_files:
                if looked.get(file) == -file.generation:
                    continue  # looked at since it was written last
                if looked.get(file) != file.generation:
                    looked[file] = file.generation
                    self._written.set()  # still being written: look again
                    continue
                looked[file] = -file.generation
                try:
                    await self._hand_over_if_whole(file, is_idle=True)
                except (GtfsError, OSError) as error:
                    log.warning("cannot take in %s: %s", os.fsdecode(file.name or b"a removed file"), error)

    def written(self) -> None:
        """A file was written to: see `watch_task`."""
        self._written.set()

    async def _hand_over_if_whole(self, file: IncomingFile, *, is_idle: bool = False) -> None:
        """Hand over what is whole and acceptable and has no writer, or one that ``is_idle``."""
        oid = parse_pack_name(file.name) if file.name is not None else None
        if oid is None or file.size == 0 or file.queued or (file.writer is not None and not is_idle):
            return
        try:
            approved = await self.approve(file, oid)
        except GtfsError:
            return  # logged, and told to the writer at flush
        is_left = (file.writer is None or is_idle) and file.name == pack_name(oid).encode()
        # No await since the contents were approved: what is handed over with `judged` is what was judged.
        if approved and file.judged is not None and is_left and not file.queued:
            file.queued = True
            self._sink.queue(self._files.path(file), file.judged)

    async def unlink(self, file: IncomingFile) -> None:
        """Remove a file as its owner wishes; raises EBUSY while the sink takes it in."""
        async with file.check_lock:  # a check that refuses moves away whatever has the name by then
            if file.name is None:
                raise OSError(errno.ENOENT, "taken away")
            oid = parse_pack_name(file.name)
            if file.queued and oid is not None and not self._sink.withdraw(oid):
                raise OSError(errno.EBUSY, "being taken in")
            file.queued = False
            await self._files.unlink(file)

    async def resume_task(self) -> None:
        """At start: hand over what an earlier run left behind whole; one file that fails stops no other."""
        for file in self._files.all():
            try:
                await self._hand_over_if_whole(file)
                await self.remove_if_void(file)
            except (GtfsError, OSError) as error:
                log.warning("cannot take in %s: %s", os.fsdecode(file.name or b"a removed file"), error)

    async def rename(self, file: IncomingFile, name: bytes, *, no_replace: bool) -> None:
        """Rename an incoming file; to ``<oid>.pack`` this is the same check as flush, and then the handover.

        A file still open for writing is checked at its close instead. Where the pack is verified already, the same
        commit came a second time: it is checked, and dropped for the canonical pack.
        """
        old_name = file.name
        assert old_name is not None
        if name == old_name:
            return
        oid = parse_pack_name(name)
        info = self._source.info(oid) if oid is not None else None
        if no_replace and (info is not None or self._files.get(name) is not None):
            raise OSError(errno.EEXIST, "exists")
        self._check_free(file, name)
        if oid is not None and file.writer is None:
            if not await self.approve(file, oid):
                raise _not_whole(file)
            if file.name != old_name:
                raise OSError(errno.ENOENT, "taken away")
            self._check_free(file, name)
            info = self._source.info(oid)
            if info is not None and info.stage in VERIFIED_STAGES:
                await self._files.unlink(file)
                return
        elif info is not None and info.stage in VERIFIED_STAGES:
            raise OSError(errno.EPERM, "verified")
        there = self._files.get(name)
        check_there: AbstractAsyncContextManager[None] = nullcontext() if there is None else there.check_lock
        # As in `unlink`. The kernel renames one at a time, so nobody waits for these two the other way round.
        async with file.check_lock, check_there:
            if file.name != old_name:
                raise OSError(errno.ENOENT, "taken away")
            self._check_free(file, name)
            await self._files.rename(file, name)
        await self._hand_over_if_whole(file)

    def _check_free(self, file: IncomingFile, name: bytes) -> None:
        there = self._files.get(name)
        if file.queued or (there is not None and (there.writer is not None or there.queued)):
            raise OSError(errno.EBUSY, "being written or taken in")


def _not_whole(file: IncomingFile) -> CorruptPack:
    return CorruptPack("not a whole pack: its last bytes are not the checksum of what stands before", file.size)
