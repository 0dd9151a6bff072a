# SPDX-License-Identifier: GPL-3.0-or-later
"""One mounted repository: its parts and how they are wired, what runs beside the requests, and its end. Trio loop only.

What is told from outside (a pack changed, packs came) arrives here; the kernel's requests arrive at `operations`.
"""

from __future__ import annotations

from gtfs.ids import ObjectId
from gtfs.mount.changes import Changes
from gtfs.mount.droppedfiles import DroppedFiles
from gtfs.mount.firstlook import FirstLook
from gtfs.mount.handletable import HandleTable
from gtfs.mount.handover import Handover
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.kernelcache import KernelCache
from gtfs.mount.listing import OpenDirectories
from gtfs.mount.names import Names
from gtfs.mount.operations import Operations
from gtfs.mount.options import MountOptions
from gtfs.mount.tree import ControlTree, IncomingSink, PackSource, TreeNews
from gtfs.mount.waits import Waits


class Mount:
    """Make it inside the trio loop that will serve it."""

    def __init__(self, source: PackSource, sink: IncomingSink, control: ControlTree, options: MountOptions) -> None:
        self._source = source
        self._kernel = KernelCache()
        self._waits = Waits(options.read_timeout_s)
        self._files = IncomingFiles(sink.directory, options.incoming_limit_bytes)
        self._handover = Handover(self._files, source, sink)
        dropped = DroppedFiles(control)
        self._names = Names(source, self._files, control, dropped, options)
        self._handles = HandleTable(
            source, self._names, self._files, self._handover, dropped, self._waits, options.read_ahead_bytes
        )
        self._directories = OpenDirectories(source, self._files, self._names)
        self.operations = Operations(
            source,
            self._files,
            self._names,
            FirstLook(source, self._names, self._waits),
            self._handles,
            self._directories,
            Changes(self._names, self._files, self._handover, dropped),
            self._kernel,
        )

    async def start(self) -> None:
        """Find the names that an earlier run left in the incoming directory. Before serving."""
        await self._files.load()

    async def resume_task(self) -> None:
        """Hand over those of them that are whole: checks take time, and the mount need not wait for them."""
        await self._handover.resume_task()

    async def watch_readers_task(self) -> None:
        """End the waits of readers that are being killed."""
        await self._waits.watch_task()

    async def watch_writers_task(self) -> None:
        """Hand over what is whole though its writer keeps it open."""
        await self._handover.watch_task()

    async def tell_kernel_again_task(self) -> None:
        """Tell the kernel again of what it may have heard too early, see `KernelCache`."""
        await self._kernel.tell_again_task()

    def end_waits(self) -> None:
        """Every wait for the swarm ends now and from now on; what is local can still be read."""
        self._waits.close()

    async def wait_unused(self) -> None:
        """Return when no file is open."""
        await self._handles.wait_unused()

    def close(self) -> None:
        """Close the real files, when no request can come any more."""
        self._kernel.end()
        self._files.close_nowait()

    def pack_changed_nowait(self, oid: ObjectId) -> None:
        """The state or the local part of a pack changed: the kernel asks again at the next look. On the loop."""
        self._names.changed()
        info = self._source.info(oid)
        if info is not None:
            self._kernel.forget(info.row)

    async def watch_news_task(self, news: TreeNews) -> None:
        """Whenever the packs changed, the directory did, as its mtime says at the next look.

        New names are found at once, since that they were not there is nothing that the kernel was ever told to keep.
        """
        seen = news.number
        while True:
            before, seen = seen, await news.wait_beyond(seen)
            self._names.changed()
            for oid in news.since(before):
                self.pack_changed_nowait(oid)
            if gone := news.gone_since(before):
                self._directories.packs_gone()
                await self._kernel.forget_all(gone)
