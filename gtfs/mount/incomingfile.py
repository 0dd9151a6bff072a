# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a file that is being written, and of who has it open: plain values, on the trio loop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import trio

from gtfs.errors import GtfsError
from gtfs.mount.tree import Judged


@dataclass(eq=False)
class IncomingHandle:
    """One open of an incoming file."""

    file: IncomingFile
    writing: bool
    flushed: bool = False  # a close() was seen since the last write: the release is probably on its way


@dataclass(eq=False)
class IncomingFile:
    """One file; compared by identity, it keeps its last attributes when its name is gone."""

    name: bytes | None  # None once unlinked, replaced or taken away
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0o600  # permission bits as their owner set them; the real file is always writable for us
    handles: set[IncomingHandle] = field(default_factory=set)
    writer: IncomingHandle | None = None
    generation: int = 0  # counts changes of the contents
    judged: Judged | None = None  # what the sink's check made of these contents, which it accepted
    refused: int = -1  # the generation that it refused, for `refusal`
    refusal: GtfsError | None = None
    queued: bool = False  # handed to the sink
    xattrs: dict[bytes, bytes] = field(default_factory=dict)  # those of other programs
    straight: bool = True  # written once, from start to end, in one single open (design.md §9)
    fd: int | None = None  # shared by all handles
    fd_lock: trio.Lock = field(default_factory=trio.Lock)
    check_lock: trio.Lock = field(default_factory=trio.Lock)  # one check at a time
    writer_gone: trio.Event = field(default_factory=trio.Event)

    def changed(self) -> None:
        """The contents are about to be, or were, changed."""
        self.generation += 1
        self.judged = None
        self.mtime_ns = time.time_ns()
