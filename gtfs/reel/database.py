# SPDX-License-Identifier: GPL-3.0-or-later
"""The index's SQLite file (node.db): schema, connections, transactions, and what its failures are called.

One connection writes, under a lock that its thread may take again; reads use a pool of their own connections and, WAL
being on, never wait for the writer. A thread inside `Database.transaction` reads what it has written there. Any thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gtfs.errors import Blame, GtfsError

SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 10.0
WRITER_CACHE_KIB: Final = 32 << 10
CHECKPOINT_PAGES: Final = 8 << 10  # of 4 KiB
VARIABLES: Final = 500  # in one statement; SQLite's oldest limit is 999

_SCHEMA: Final = (
    """CREATE TABLE reels (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        infohash BLOB NOT NULL CHECK (length(infohash) = 20),
        size INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        version INTEGER NOT NULL, -- of the catalogue that first listed it; 0: sealed and not yet published
        state TEXT NOT NULL CHECK (state IN ('remote', 'partial', 'complete', 'retired'))
    ) STRICT""",
    """CREATE TABLE packs (
        row INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: inodes come from it
        oid BLOB NOT NULL UNIQUE CHECK (length(oid) IN (20, 32)),
        kind INTEGER, -- 1 commit, 4 tag; NULL until its bytes were seen
        time INTEGER, -- committer or tagger, s; while kind is NULL, what its reel's catalogue says at best
        size INTEGER NOT NULL,
        digest BLOB CHECK (length(digest) = 32), -- SHA-256 of the pack
        state TEXT NOT NULL -- older files allow one more, 'fetching', which no row ever had
            CHECK (state IN ('remote', 'waiting', 'refused', 'verified', 'unpacked')),
        reel INTEGER REFERENCES reels, -- NULL with an offset: the open reel
        offset INTEGER, -- NULL: its bytes are in no reel
        reason TEXT,
        first_seen INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX packs_place ON packs (reel, offset)",
    "CREATE INDEX packs_state ON packs (state)",
    """CREATE TABLE parents (
        child INTEGER NOT NULL, -- a row of packs; no REFERENCES: checking it took a third of a bulk insert
        parent BLOB NOT NULL, -- an object id, known or not
        PRIMARY KEY (child, parent)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX parents_parent ON parents (parent)",
    "CREATE TABLE unencodable (oid BLOB PRIMARY KEY, reason TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE held_refs (name BLOB PRIMARY KEY, oid BLOB NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE signoffs ( -- as older programs have them; they are moved to `signed`
        oid BLOB PRIMARY KEY, file TEXT NOT NULL, vouch TEXT NOT NULL, time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)

# Tables that indexes of schema 1 may lack.
_ADDED: Final = (
    # Where refs stood that a catalogue dropped: they come back no older.
    "CREATE TABLE IF NOT EXISTS left_refs (name BLOB PRIMARY KEY, oid BLOB NOT NULL) STRICT, WITHOUT ROWID",
    # What gpgv found; whether the key was good then or is now is judged each time anew.
    """CREATE TABLE IF NOT EXISTS signatures (
        oid BLOB PRIMARY KEY,
        signer TEXT NOT NULL, -- the primary key
        part TEXT NOT NULL, -- it or its subkey
        made INTEGER NOT NULL, -- s
        expires INTEGER, -- s, of the signature; NULL: never
        keyring BLOB NOT NULL -- the SHA-256 of the one that it was found with
    ) STRICT, WITHOUT ROWID""",
    "DROP TABLE IF EXISTS signers",
    "DROP TABLE IF EXISTS verdicts",  # of early indexes: nothing was ever written there
    # What a pack asks of limits, of those that ask for much.
    """CREATE TABLE IF NOT EXISTS needs (
        oid BLOB PRIMARY KEY, object_bytes INTEGER NOT NULL, expanded_bytes INTEGER NOT NULL, objects INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # What hooks have still to hear: the refs as they stood when moves were gathered last, and what each has not heard.
    "CREATE TABLE IF NOT EXISTS hook_refs (name BLOB PRIMARY KEY, oid BLOB NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS hook_moves (
        hook TEXT NOT NULL, name BLOB NOT NULL,
        old BLOB, -- NULL: it was not there
        new BLOB, -- NULL: it is not there
        PRIMARY KEY (hook, name)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS hook_failures (
        hook TEXT PRIMARY KEY, times INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Sign-offs, by rows of packs: by ids, which are random, each new one changed another page. A batch's are alike.
    """CREATE TABLE IF NOT EXISTS signed_batches (id INTEGER PRIMARY KEY,
        file TEXT NOT NULL, vouch TEXT NOT NULL, time INTEGER NOT NULL, UNIQUE (file, vouch, time)) STRICT""",
    "CREATE TABLE IF NOT EXISTS signed (row INTEGER PRIMARY KEY, batch INTEGER NOT NULL) STRICT",
    "INSERT OR IGNORE INTO signed_batches (file, vouch, time) SELECT DISTINCT file, vouch, time FROM signoffs",
    """INSERT OR REPLACE INTO signed SELECT p.row, b.id FROM signoffs s JOIN packs p ON p.oid = s.oid
        JOIN signed_batches b ON (b.file, b.vouch, b.time) = (s.file, s.vouch, s.time)""",
    "DELETE FROM signoffs",
    # How many packs there are, and their bytes: a status must not cost what there is (totals.py).
    """CREATE TABLE IF NOT EXISTS totals (
        state TEXT PRIMARY KEY, packs INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """INSERT INTO totals SELECT column1, count(row), coalesce(sum(size), 0)
        FROM (VALUES ('remote'), ('waiting'), ('refused'), ('verified'), ('unpacked'))
        LEFT JOIN packs ON state = column1 WHERE NOT EXISTS (SELECT 1 FROM totals) GROUP BY column1""",
    """CREATE TRIGGER IF NOT EXISTS totals_come AFTER INSERT ON packs BEGIN
        UPDATE totals SET packs = packs + 1, bytes = bytes + new.size WHERE state = new.state;
    END""",
    """CREATE TRIGGER IF NOT EXISTS totals_go AFTER DELETE ON packs BEGIN
        UPDATE totals SET packs = packs - 1, bytes = bytes - old.size WHERE state = old.state;
    END""",
    """CREATE TRIGGER IF NOT EXISTS totals_change AFTER UPDATE OF state, size ON packs
        WHEN old.state IS NOT new.state OR old.size IS NOT new.size BEGIN
        UPDATE totals SET packs = packs - 1, bytes = bytes - old.size WHERE state = old.state;
        UPDATE totals SET packs = packs + 1, bytes = bytes + new.size WHERE state = new.state;
    END""",
)


class IndexUnusable(GtfsError):
    """The index cannot be opened, read or written: disk, permission, or a file system without shared memory."""

    fault = Blame.SYSTEM

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the index {path}: {reason}")
        self.path = path
        self.reason = reason


class IndexCorrupt(IndexUnusable):
    """The index is damaged or of another version; the files it was made from are the remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, f"{reason}; run gtfs fsck --rebuild")


class IndexFull(IndexUnusable):
    """The disk is full; nothing of the transaction was kept."""

    errno = errno.ENOSPC


class IndexBusy(IndexUnusable):
    """Another process holds the index's write lock."""

    fault = Blame.BUSY


class Database:
    """Connections and transactions; what is stored is said in ledger.py, packrows.py and reelrows.py."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open ``path``; unless ``read_only`` (then it must exist) an absent or empty one is created."""
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._owner: int | None = None  # the thread inside a transaction
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self.changes = 0  # transactions committed here; what caches of counts depend on
        self._uses = 0  # give or take those that threads count at the same moment
        self._uses_at_rest = -1
        self._writer: sqlite3.Connection | None = self._connect(writes=not read_only)
        try:
            self._prepare(self._writer)
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Close every connection; a transaction of another thread is waited for."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            if self._writer is not None:
                self._writer.close()

    def rest(self) -> bool:
        """Give descriptors and memory back if nothing was read or written since the last call; a use opens it again.

        Gives whether it did.
        """
        uses, self._uses_at_rest = self._uses_at_rest, self._uses
        if uses != self._uses or self.read_only or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._owner is not None or self._closed or self._writer is None:
                return False
            self._close_idle()
            self._writer.close()
            self._writer = None
            return True
        finally:
            self._lock.release()

    def _writing(self) -> sqlite3.Connection:
        """The connection that writes; its lock is held."""
        if self._writer is None:
            self._writer = self._connect(writes=True)
            self._tune(self._writer)
        return self._writer

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable when left (design.md §8.8). Inside another one of the same thread it is a part."""
        with self._lock:
            inner = self._owner is not None
            begin, keep, drop = _SAVEPOINT if inner else _TRANSACTION
            if self._closed:
                raise IndexUnusable(self.path, "closed")
            self._uses += 1
            db = self._writing()
            try:
                db.execute(begin)
                self._owner = threading.get_ident()
                yield db
                db.execute(keep)
            except BaseException as error:
                if db.in_transaction:  # a full disk may have ended it already
                    for statement in drop:
                        db.execute(statement)
                if isinstance(error, sqlite3.Error):
                    raise self._named(error) from error
                raise
            finally:
                if not inner:
                    self._owner = None
                    self.changes += 1

    def shrink(self) -> None:
        """Give back the memory of pages that were kept."""
        with self._lock:
            if self._owner is None and not self._closed and self._writer is not None:
                self._writer.execute("PRAGMA shrink_memory")
        self._close_idle()

    def check(self) -> list[str]:
        """What SQLite finds wrong with its file; empty when all is well. Reads all of it."""
        found = [str(text) for (text,) in self.rows("PRAGMA quick_check(20)")]
        found += [
            f"row {row} of {table} refers to a {parent} that is not there"
            for table, row, parent, _ in self.rows("PRAGMA foreign_key_check")
        ]
        return [text for text in found if text != "ok"]

    def is_writing(self) -> bool:
        """Whether this thread is inside of a transaction, and so may see what no other does."""
        return self._owner == threading.get_ident()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """What a statement selects."""
        self._uses += 1
        if self.is_writing():
            return self._writing().execute(sql, values).fetchall()
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect(writes=False)
        try:
            return db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._named(error) from error
        finally:
            self._idle.append(db)
            if self._closed:  # by another thread, meanwhile
                self._close_idle()

    def row(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Its first row, None if there is none."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def rows_in(self, sql: str, keys: Iterable[object]) -> Iterator[Any]:
        """The rows of a statement with one ``IN (%s)`` for any number of keys."""
        for part in chunked(keys, VARIABLES):
            # A few lengths, filled with NULL, so that SQLite's few prepared statements serve them all.
            width = next(width for width in (1, 8, 64, VARIABLES) if width >= len(part))
            part += [None] * (width - len(part))
            yield from self.rows(sql % ",".join("?" * width), part)

    def _connect(self, *, writes: bool) -> sqlite3.Connection:
        if self._closed:
            raise IndexUnusable(self.path, "closed")
        mode = "rwc" if writes else ("ro" if self.read_only else "rw")
        if self.read_only and self._is_immutable():
            mode += "&immutable=1"  # else SQLite wants to make its -shm file
        try:
            if writes:  # SQLite gives its other files the mode of this one, and would take the umask's
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db = sqlite3.connect(
                f"file:{quote(os.fsencode(self.path.absolute()))}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            db.execute("PRAGMA foreign_keys = ON")
            if not writes:
                db.execute("PRAGMA query_only = ON")
            return db
        except sqlite3.Error as error:
            raise self._named(error) from error
        except OSError as error:
            raise IndexUnusable(self.path, f"unable to open database file ({error.strerror})") from error

    def _is_immutable(self) -> bool:
        """Whether nothing can be written beside it, and all of it is in the one file. Raises `IndexUnusable`."""
        if os.access(self.path.parent, os.W_OK, effective_ids=True):
            return False
        wal, shm = (self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm"))
        if not wal.exists() or not wal.stat().st_size:
            return True
        if not shm.exists():
            raise IndexUnusable(self.path, f"{wal.name} has its last changes: start gtfs once where it can be written")
        return False

    def _tune(self, db: sqlite3.Connection) -> None:
        """What holds for a connection that writes, as long as it is open."""
        try:
            db.execute("PRAGMA synchronous = FULL")
            # Ids are random: a thousand new rows touch as many pages, and the defaults write each far too often.
            db.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        try:
            if not self.read_only:
                mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise IndexUnusable(self.path, "its file system gives no shared memory (SQLite WAL)")
                self._tune(db)
            version = db.execute("PRAGMA user_version").fetchone()[0]
            empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.Error as error:
            raise self._named(error) from error
        if version == 0 and empty and not self.read_only:
            with self.transaction():
                for statement in (*_SCHEMA, *_ADDED):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version > SCHEMA_VERSION:
            raise IndexCorrupt(self.path, f"was written by a newer gtfs (schema {version})")
        elif version != SCHEMA_VERSION:
            raise IndexCorrupt(self.path, "is not an index of gtfs")
        elif not self.read_only:
            with self.transaction():
                for statement in _ADDED:
                    db.execute(statement)

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _named(self, error: sqlite3.Error) -> Exception:
        if self._closed and isinstance(error, sqlite3.ProgrammingError):
            return IndexUnusable(self.path, "closed")
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return IndexCorrupt(self.path, f"is damaged ({error})")
        if code == sqlite3.SQLITE_FULL:
            return IndexFull(self.path, "no space left on the disk")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexBusy(self.path, "is held by another process")
        if code == sqlite3.SQLITE_CANTOPEN:  # which is all that SQLite says
            return IndexUnusable(self.path, f"{error}: is the disk full (df, df -i), or the directory another user's?")
        if code == sqlite3.SQLITE_IOERR:  # so it calls a disk that is full, too, where its shared memory cannot grow
            return IndexUnusable(self.path, f"{error}: is the disk full (df), or damaged?")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return IndexUnusable(self.path, str(error))
        return error  # a bug of ours: with its traceback


_TRANSACTION: Final = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_SAVEPOINT: Final = ("SAVEPOINT part", "RELEASE part", ("ROLLBACK TO part", "RELEASE part"))


def chunked(keys: Iterable[object], size: int) -> Iterator[list[object]]:
    """The keys in lists of at most ``size``."""
    part: list[object] = []
    for key in keys:
        part.append(key)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
