# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount shows and where it hands what was written: the Protocols that node.py implements and wires.

No code of its own. The look-ups (everything that is not async) are called on the trio loop for each ``stat`` and must
answer from memory or the index within a millisecond; they never wait for the network. Only `PackSource.read` and
the waits of `PackSource`, the readers of a `ControlEntry` and the methods of `IncomingSink` may wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId

VERIFIED_STAGES: Final = frozenset({"verified", "unpacked"})  # of design.md §8: the bytes are ours and never change


class ReadTimedOut(GtfsError):
    """The bytes did not come within the read timeout (ETIMEDOUT)."""

    fault = Blame.NETWORK

    def __init__(self, message: str = "no peer delivered the data within the read timeout") -> None:
        super().__init__(message)


class NotLocal(GtfsError):
    """The bytes are not here and the node is offline (ENODATA)."""

    fault = Blame.NETWORK

    def __init__(self, message: str = "the data is not local and this node is offline") -> None:
        super().__init__(message)


class PackGone(GtfsError):
    """The pack was withdrawn while somebody had it open (ESTALE)."""

    fault = Blame.SOURCE


class PackInfo(NamedTuple):
    """One commit pack as the mount shows it."""

    row: int  # of the index, >= 1 and never reused; the inode is this plus inodes.PACK_BASE
    oid: ObjectId
    size: int  # bytes, exact before one of them is here
    time_s: int  # committer (or tagger) time
    stage: str  # of design.md §8: remote, waiting, refused, verified, unpacked
    local_bytes: int  # how many of `size` are on this machine


PackFields = tuple[int, ObjectId, int, int, str, int]  # those of a `PackInfo`; a listing has a hundred thousand


class SpaceStatistics(NamedTuple):
    """What statfs shows."""

    total_bytes: int
    free_bytes: int
    packs: int


class PackSource(Protocol):
    """Every commit pack that the node knows."""

    @property
    def is_listed(self) -> bool:
        """Whether all packs are known that are to be; False for a while in a new mirror, whose peers are asked."""

    async def wait_listed(self) -> None:
        """Return when they are, or when they have been waited for long enough."""

    async def wait_listable(self) -> None:
        """Return when packs need not be waited for by the network any more, only until they are known."""

    async def wait_beyond(self, row: int) -> None:
        """Return when a pack of a higher row is known, or all that are to be."""

    async def wait_known(self, oid: ObjectId) -> None:
        """The same for one pack, which may be known before the others."""

    def info(self, oid: ObjectId) -> PackInfo | None:
        """The pack of ``oid``, or None if this node knows no such commit or tag."""

    def info_by_row(self, row: int) -> PackInfo | None:
        """The pack of an index row."""

    def rows(self, after_row: int, limit: int) -> Sequence[PackFields]:
        """At most ``limit`` packs of rows greater than ``after_row``, in row order; an empty list ends the listing."""

    async def read(self, oid: ObjectId, offset: int, length: int, *, read_ahead: int, waits: bool) -> bytes:
        """Exactly ``length`` verified bytes (the mount never asks past the end).

        ``read_ahead`` is how many bytes after them this reader will probably want. Unless it ``waits``, what is not
        here any more is `NotLocal`. May be cancelled at any await.
        Raises `ReadTimedOut`, `NotLocal`, `PackGone` or another `GtfsError`.
        """

    def xattrs(self, oid: ObjectId) -> dict[bytes, bytes]:
        """Extended attributes by full name (``user.gtfs.state`` and its like, design.md §9)."""

    def statistics(self) -> SpaceStatistics:
        """Sizes for statfs."""


@dataclass(eq=False)
class Judged:
    """A file's contents that a sink has accepted as the pack of ``oid``; what more it knows of them is its own."""

    oid: ObjectId


class IncomingSink(Protocol):
    """Where a written pack goes."""

    @property
    def directory(self) -> Path:
        """``incoming/``: a real directory, on no mount of ours, in which nobody else creates files."""

    def note_trouble(self, text: str | None) -> None:
        """What the disk does to writers, for the status; None when it is over. Already logged."""

    async def check(self, path: Path, oid: ObjectId) -> Judged | None:
        """Judge the file at ``path`` as the pack of ``oid`` (design.md §8.1–2 and policy); None if it is not whole.

        Whole: it starts like a pack and ends in the checksum of what stands before; size proves nothing.
        Raises a `GtfsError` that blames the data (EBADMSG: `CorruptPack`) or the trust (EACCES: a policy's refusal). On
        refusal the sink logs the reason and moves the file to quarantine. A pack whose parents are missing is no
        refusal. Must not raise because ``oid`` is already known.
        """

    def queue(self, path: Path, judged: Judged) -> None:
        """Take a file over for design.md §8.3–9, with what `check` made of it; what is let in is what was judged.

        The sink takes the file away when the pack's state is verified, or when it is refused after all. Until then
        (parents may be missing for long) the file stays, and its owner may have it back: see `withdraw`.
        """

    def withdraw(self, oid: ObjectId) -> bool:
        """Forget a queued file, whose owner unlinks it; False while it is being taken in.

        What then comes under its name was never handed over, and must not be taken for it.
        """


@dataclass(frozen=True)
class ControlEntry:
    """One name under ``.gtfs``: a directory, a link, or a file with exactly one of the three readers."""

    kind: Literal["dir", "file", "link"]
    size: int = 0
    time_s: int = 0
    target: bytes | None = None  # of a link
    read: Callable[[], Awaitable[bytes]] | None = None  # the whole contents, asked once at open
    path: Path | None = None  # a real file, complete, read in a thread
    read_at: Callable[[int, int], Awaitable[bytes]] | None = None  # (offset, length), for what may be not local


class TreeNews(Protocol):
    """Changes of the packs that the kernel does not make itself; the ``number`` grows with each."""

    number: int

    async def wait_beyond(self, seen: int) -> int:
        """The number, once it is another than ``seen``."""

    def since(self, seen: int) -> Sequence[ObjectId]:
        """Packs that were there at ``seen`` and are others now, in state or in what is local of them."""

    def gone_since(self, seen: int) -> Sequence[int]:
        """Rows of packs that were there and are not any more."""


class NotTakeable(GtfsError):
    """What was copied into ``.gtfs`` is nothing that could be used there (EBADMSG)."""

    fault = Blame.DATA


class ControlTree(Protocol):
    """What stands under ``.gtfs``; ``parts`` are the names below it, () for ``.gtfs`` itself."""

    async def take(self, parts: tuple[bytes, ...], document: bytes) -> None:
        """Check a document that was copied to ``parts``, and act on it.

        Raises `NotTakeable`, or a `GtfsError` that blames the trust (EACCES).
        """

    def look(self, parts: tuple[bytes, ...]) -> ControlEntry | None:
        """The entry, also one that `names` does not list."""

    def names(self, parts: tuple[bytes, ...]) -> list[bytes]:
        """The names in a directory."""
