# SPDX-License-Identifier: GPL-3.0-or-later
"""The index's small tables: history, held refs, sign-offs, signers, what cannot be encoded, settings. Any thread.

Not about bytes: where packs lie is packrows.py. Each write is a transaction or a part of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.account import Needs
from gtfs.reel.database import Database
from gtfs.reel.manyrows import run_with_rows

_TAKEN_UP: Final = "taken-up-tips"
_SIGNED: Final = (
    "(SELECT p.oid, b.file, b.vouch, b.time FROM packs p JOIN signed s ON s.row = p.row "
    "JOIN signed_batches b ON b.id = s.batch)"
)
_HELD_OF: Final = "held-refs-of"  # the digest of the catalogue that has exactly these refs; missing once they change


class Before(NamedTuple):
    """The refs of a catalogue, and its digest."""

    digest: str
    refs: Mapping[bytes, ObjectId]


class SignOff(NamedTuple):
    """That this node signed off a pack: in which file under signoffs/, on whose word (design.md §10), when."""

    oid: ObjectId
    file: str
    vouch: str
    time_s: int


class History:
    """Whose parent is who."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def parents_of(self, oid: ObjectId) -> list[ObjectId]:
        """The parents of a commit (a tag's target), repeats removed, by id; empty also for what is not yet seen."""
        return _ids(
            self._db.rows(
                "SELECT a.parent FROM packs p JOIN parents a ON a.child = p.row WHERE p.oid = ? ORDER BY a.parent",
                (oid,),
            )
        )

    def children_of(self, oid: ObjectId) -> list[ObjectId]:
        """The seen commits and tags that have this one as parent or target."""
        return _ids(
            self._db.rows(
                "SELECT p.oid FROM parents a JOIN packs p ON p.row = a.child WHERE a.parent = ? ORDER BY p.oid", (oid,)
            )
        )

    def put(self, history: Iterable[tuple[ObjectId, Sequence[ObjectId]]]) -> None:
        """Record the parents of seen commits, and tags' targets."""
        with self._db.transaction() as db:
            run_with_rows(
                db,
                "WITH given (child, parent) AS (%s) INSERT OR IGNORE INTO parents "
                "SELECT p.row, g.parent FROM given g CROSS JOIN packs p ON p.oid = g.child",
                ((child, parent) for child, parents in history for parent in parents),
            )


class HeldRefs:
    """The refs that were accepted, and where those stood that a catalogue dropped."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: tuple[int, Mapping[bytes, ObjectId]] = (0, {})  # as of so many changes of the index
        self._changed_as_of = 0  # and those when refs changed last

    def held(self) -> Mapping[bytes, ObjectId]:
        """The refs that were accepted and that the backing repository must have (design.md §8.9).

        Read once for many: a sync asks six times, and there may be a hundred thousand.
        """
        # Not so what another process may change, nor what a transaction that is not done has changed.
        changes, (as_of, held) = self._db.changes, self._held
        if as_of <= self._changed_as_of or self._db.read_only or self._db.is_writing():
            held = MappingProxyType(dict(self._db.rows("SELECT name, oid FROM held_refs ORDER BY name")))
            if not self._db.is_writing():
                self._held = (changes, held)
        return held

    def are_of(self, digest: str) -> bool:
        """Whether they are known to be those of the catalogue of this digest, without a look at each."""
        return self._db.row("SELECT 1 FROM meta WHERE key = ? AND value = ?", (_HELD_OF, digest)) is not None

    def set_held(self, refs: Mapping[bytes, ObjectId], digest: str | None = None, before: Before | None = None) -> None:
        """Hold exactly these refs, those of the catalogue ``digest``. If what is held is known to be the refs of the
        catalogue ``before`` it, these are not read."""
        with self._db.transaction() as db:
            held = before.refs if before is not None and self.are_of(before.digest) else self.held()
            moved = {name for name, _ in refs.items() ^ held.items()}
            self.change({n: refs[n] for n in moved if n in refs}, [n for n in moved if n not in refs])
            if digest is not None:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_HELD_OF, digest))

    def change(
        self, put: Mapping[bytes, ObjectId], drop: Iterable[bytes] = (), left: Mapping[bytes, ObjectId] | None = None
    ) -> None:
        """Hold ``put`` from now on and ``drop`` no more; of ``left`` the places are remembered for good."""
        with self._db.transaction() as db:
            self._changed_as_of = self._db.changes  # whose end makes it one more
            db.execute("DELETE FROM meta WHERE key = ?", (_HELD_OF,))
            run_with_rows(db, "DELETE FROM held_refs WHERE name IN (%s)", ((name,) for name in drop))
            run_with_rows(db, "INSERT OR REPLACE INTO held_refs %s", put.items())
            run_with_rows(db, "INSERT OR REPLACE INTO left_refs %s", (left or {}).items())

    def left(self) -> dict[bytes, ObjectId]:
        """The refs that a catalogue gave once and a later one did not, where each stood last."""
        return dict(self._db.rows("SELECT name, oid FROM left_refs"))


class SignOffs:
    """This node's sign-offs of packs; they go with the packs' rows."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # An index that nobody may write can be older than the table.
        kept = db.row("SELECT 1 FROM sqlite_master WHERE name = 'signed'") is not None
        self._table = _SIGNED if kept else "signoffs"

    def add(self, signoffs: Iterable[SignOff]) -> None:
        """Record sign-offs of packs that have rows; a later one of the same pack replaces the earlier."""
        signoffs = list(signoffs)
        with self._db.transaction() as db:
            batches = {signoff[1:] for signoff in signoffs}
            run_with_rows(db, "INSERT OR IGNORE INTO signed_batches (file, vouch, time) %s", batches)
            sql = "SELECT id FROM signed_batches WHERE (file, vouch, time) = (?, ?, ?)"
            ids = {batch: db.execute(sql, batch).fetchone()[0] for batch in batches}
            run_with_rows(
                db,
                "WITH given (oid, batch) AS (%s) INSERT OR REPLACE INTO signed "
                "SELECT p.row, g.batch FROM given g CROSS JOIN packs p ON p.oid = g.oid",
                ((signoff.oid, ids[signoff[1:]]) for signoff in signoffs),
            )

    def get(self, oid: ObjectId) -> SignOff | None:
        """This node's sign-off of a pack."""
        row = self._db.row(f"SELECT oid, file, vouch, time FROM {self._table} WHERE oid = ?", (oid,))  # noqa: S608
        return None if row is None else SignOff._make(row)

    def oids(self) -> list[ObjectId]:
        """The packs with a sign-off."""
        return _ids(self._db.rows(f"SELECT oid FROM {self._table}"))  # noqa: S608


class SignatureRow(NamedTuple):
    """A signature that fits its object, as some keys showed it: by which part of which primary key, times in s.

    An SSH key is its own part, and its signatures have no time.
    """

    signer: str
    part: str
    made_s: int
    expires_s: int | None
    keyring: bytes  # SHA-256 of the keys


class KnownSigners:
    """What was found of the signatures that objects carry; a hint, as the ring may be another one today."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, signatures: Mapping[ObjectId, SignatureRow]) -> None:
        """Remember what was found, each with the digest of the keys that told (design.md §10)."""
        with self._db.transaction() as db:
            rows = ((oid, *row) for oid, row in signatures.items())
            run_with_rows(db, "INSERT OR REPLACE INTO signatures %s", rows)

    def of(self, oids: Iterable[ObjectId]) -> dict[ObjectId, SignatureRow]:
        """What `put` remembered of them."""
        rows = self._db.rows_in(
            "SELECT oid, signer, part, made, expires, keyring FROM signatures WHERE oid IN (%s)", oids
        )
        return {ObjectId(oid): SignatureRow(*row) for oid, *row in rows}


class UnencodableCommits:
    """Commits whose packs cannot be made."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, reasons: Mapping[ObjectId, str]) -> None:
        """Remember why these commits' packs cannot be made (design.md §3.0, §3.1)."""
        with self._db.transaction() as db:
            run_with_rows(db, "INSERT OR REPLACE INTO unencodable %s", reasons.items())

    def drop(self, oids: Iterable[ObjectId] | None = None) -> None:
        """Forget these, or all of them: they will be tried again."""
        with self._db.transaction() as db:
            if oids is None:
                db.execute("DELETE FROM unencodable")
            else:
                run_with_rows(db, "DELETE FROM unencodable WHERE oid IN (%s)", ((oid,) for oid in oids))

    def all(self) -> dict[ObjectId, str]:
        """The commits whose packs cannot be made, and why."""
        return dict(self._db.rows("SELECT oid, reason FROM unencodable"))


class PackNeeds:
    """What packs need of limits."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, needs: Mapping[ObjectId, Needs]) -> None:
        """Remember what these packs need of limits, where it is worth a word."""
        rows = [(oid, *needed) for oid, needed in needs.items() if any(needed)]
        if rows:
            with self._db.transaction() as db:
                run_with_rows(db, "INSERT OR REPLACE INTO needs %s", rows)

    def of_reel(self, reel: int | None) -> dict[ObjectId, Needs]:
        """What the packs of a reel (None: of the open reel) need, as far as any needs much."""
        rows = self._db.rows(
            "SELECT n.oid, object_bytes, expanded_bytes, objects FROM needs n JOIN packs p ON p.oid = n.oid "
            "WHERE p.reel IS ? AND p.offset IS NOT NULL",
            (reel,),
        )
        return {ObjectId(oid): Needs(*needed) for oid, *needed in rows}


class Meta:
    """Settings and versions that the node keeps in the index."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, key: str) -> str | None:
        """A setting or version that the node keeps here."""
        row = self._db.row("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def set(self, key: str, value: str | None) -> None:
        """Keep it, or with None forget it."""
        with self._db.transaction() as db:
            if value is None:
                db.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def taken_up(self) -> frozenset[ObjectId]:
        """Tips of which all history has its packs, or a reason why not; a walk of what is new ends there."""
        return frozenset(ObjectId(bytes.fromhex(word)) for word in (self.get(_TAKEN_UP) or "").split())

    def set_taken_up(self, tips: Iterable[ObjectId]) -> None:
        """Keep these tips instead; none, and all of history is walked again."""
        self.set(_TAKEN_UP, " ".join(sorted(oid.hex() for oid in tips)) or None)


def _ids(rows: list[tuple[bytes]]) -> list[ObjectId]:
    return [ObjectId(oid) for (oid,) in rows]
