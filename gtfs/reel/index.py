# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a node (node.db): packs, the reels they lie in, history, refs and sign-offs, each a part of it.

All look-ups are by an SQL index; none waits for the network or for the writer. Any thread.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from gtfs.reel.database import Database, IndexBusy, IndexCorrupt, IndexFull, IndexUnusable
from gtfs.reel.hookrows import HookRows
from gtfs.reel.ledger import HeldRefs, History, KnownSigners, Meta, PackNeeds, SignOff, SignOffs, UnencodableCommits
from gtfs.reel.packrows import ListedPack, LocalPack, PackRow, PackRows, ReelPack, SeenPack
from gtfs.reel.reelrows import ReelConflict, ReelRow, ReelRows, ReelStage
from gtfs.reel.totals import PackStage

__all__ = [
    "Index",
    "IndexBusy",
    "IndexCorrupt",
    "IndexFull",
    "IndexUnusable",
    "ListedPack",
    "LocalPack",
    "PackRow",
    "PackStage",
    "ReelConflict",
    "ReelPack",
    "ReelRow",
    "ReelStage",
    "SeenPack",
    "SignOff",
]


class Index:
    """Its parts. A write is a transaction, or a part of the caller's ``with index.transaction():``."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open ``path``; unless ``read_only`` (then it must exist) an absent or empty one is created.

        Raises `IndexUnusable`.
        """
        self._db = db = Database(path, read_only=read_only)
        self.path = path
        self.read_only = read_only
        self.meta = Meta(db)
        self.history = History(db)
        self.packs = PackRows(db, self.history, self.meta)
        self.reels = ReelRows(db)
        self.refs = HeldRefs(db)
        self.signoffs = SignOffs(db)
        self.signers = KnownSigners(db)
        self.unencodable = UnencodableCommits(db)
        self.needs = PackNeeds(db)
        self.hooks = HookRows(db)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; a transaction of another thread is waited for."""
        self._db.close()

    @property
    def changes(self) -> int:
        """How many transactions there were so far: what was read before the last one may be otherwise now."""
        return self._db.changes

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """See `Database.transaction`."""
        return self._db.transaction()

    def rest(self) -> bool:
        """See `Database.rest`."""
        return self._db.rest()

    def shrink(self) -> None:
        """See `Database.shrink`."""
        self._db.shrink()

    def check(self) -> list[str]:
        """What is wrong with it; empty when all is well. Reads all of it."""
        return self._db.check() + self.packs.check()
