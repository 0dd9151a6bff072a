# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps 1 to 4 of design.md §8 for one pack: scan, decode and hash, check, policy. Nothing is written. One thread.

Steps 1 and 2 depend on the pack's bytes alone: who examines a pack twice, when it is closed and when it is let in,
keeps an `Examination` and has them done once. Policy is asked each time, as it may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gtfs.errors import GtfsError
from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.ingest.checkobjects import check_pack
from gtfs.ingest.faults import EVERYTHING, STRANGERS, Finding, Leniency
from gtfs.ingest.inside import Inside, Read
from gtfs.ingest.passedtrees import MAX_BYTES, PassedTrees
from gtfs.pack.decode import Decoded, decode, reread
from gtfs.pack.format import BLOB, COMMIT, TAG, CorruptPack
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.objects import read_commit_names, read_made_s, read_tag_target
from gtfs.pack.scan import PackBytes, Scan, check_digest, inflate, scan
from gtfs.pack.trees import RawObject
from gtfs.trust.policy import Vouch
from gtfs.trust.several import Search, SignedRaw

_KEEP_INFLATED = 16 * MIB  # bytes a scan may keep for the decoder
_ENTRY_BYTES = 512  # about, of what Python keeps for an entry

# Kind and size of an object outside of the pack and, unless it has more bytes than that, its contents.
Lookup = Callable[[ObjectId, int], RawObject | None]


class Waiting(GtfsError):
    """A sound pack whose parents are not here yet; it is retried when they come (design.md §8.2)."""

    def __init__(self, oid: ObjectId, parents: Sequence[ObjectId]) -> None:
        names = ", ".join(p.hex()[:12] for p in parents)
        super().__init__(f"{oid.hex()} waits for its parents {names}")
        self.oid = oid
        self.parents = tuple(parents)


class Gate(Protocol):
    """Step 4: who vouches for a commit or tag. ``promised`` says that an accepted catalogue names this very pack.

    ``accepted_faults``: the objects whose faults that catalogue accepts.
    """

    @property
    def accepted_faults(self) -> frozenset[ObjectId]: ...

    def search(self, signed: SignedRaw, *, promised: bool) -> Search | None:
        """The search for a signature that judging it needs, None if it needs none: to be begun ahead."""

    def judge(self, kind: int, raw: bytes, *, promised: bool, search: Search | None = None) -> Vouch:
        """``search``: one that was begun. Raises `PolicyRefused`."""


class Examination:
    """The bytes of one pack and what is known of them alone, so that nothing of it is found out twice.

    ``pack`` must be what nobody else can change: a map of our own file, or a private copy. One thread at a time.
    """

    def __init__(
        self, oid: ObjectId, pack: PackBytes, found: Scan, kind: int, parents: tuple[ObjectId, ...], raw: bytes
    ) -> None:
        self.oid = oid
        self.pack = pack
        self.scan = found
        self.kind = kind
        self.parents = parents  # that its first object names; a tag: its target, if that has a pack of its own
        self.raw = raw  # the first object
        self.decoded: list[Decoded] | None = None
        self.findings: tuple[Finding, ...] = ()
        self.checked_for: Leniency | None = None  # whom step 3 was done for, None if it is still to be done

    def held_bytes(self) -> int:
        """How much memory it takes, if its bytes are in memory."""
        kept = sum(map(len, self.scan.inflated.values()))
        kept += sum(len(d.data) for d in self.decoded or () if d.data is not None)
        return len(self.pack) + kept + _ENTRY_BYTES * len(self.scan.entries)


class Examined(NamedTuple):
    """A pack that passed steps 1 to 4; its entries' offsets refer to the bytes it was examined from."""

    oid: ObjectId
    kind: int
    time_s: int
    parents: tuple[ObjectId, ...]
    scan: Scan
    decoded: list[Decoded]
    vouch: Vouch
    findings: tuple[Finding, ...]
    accepted: frozenset[ObjectId] = frozenset()  # its objects that the catalogue's Accepted-Faults names


def first_names(pack: PackBytes, found: Scan, fmt: ObjectFormat) -> tuple[ObjectId, int, tuple[ObjectId, ...], bytes]:
    """Id, kind, parents (a tag: its target, if that has a pack of its own) and raw bytes of the first object.

    Raises `CorruptPack` where a pack does not begin with a whole commit or tag.
    """
    entry = found.entries[0]
    if entry.kind not in (COMMIT, TAG):
        raise CorruptPack("the first object is not a whole commit or tag", entry.offset)
    raw = found.inflated.get(entry.offset) or inflate(pack, entry)
    if entry.kind == COMMIT:
        parents = tuple(dict.fromkeys(read_commit_names(raw, fmt)[1]))
        return fmt.hash_object(b"commit", raw), COMMIT, parents, raw
    inner = raw
    at = 0
    while True:
        target, kind = read_tag_target(inner, fmt)
        if kind == COMMIT:
            return fmt.hash_object(b"tag", raw), TAG, (target,), raw
        at += 1
        if kind != TAG or at >= len(found.entries) or found.entries[at].kind != TAG:
            return fmt.hash_object(b"tag", raw), TAG, (), raw
        inner = found.inflated.get(found.entries[at].offset) or inflate(pack, found.entries[at])


class Examiner:
    """Examines packs against what the repository and the batches before them hold."""

    def __init__(self, fmt: ObjectFormat, limits: Limits, gate: Gate, passed_bytes: int = MAX_BYTES) -> None:
        self._fmt = fmt
        self._limits = limits
        self._gate = gate
        self._passed_bytes = passed_bytes  # of trees that a delta may stand on
        self._passed = PassedTrees(fmt, limits, passed_bytes)
        self._inside = Inside()

    def forget(self) -> None:
        """Give back what is kept for the next packs."""
        self._inside.clear()
        self._passed = PassedTrees(self._fmt, self._limits, self._passed_bytes)

    def scan(self, pack: PackBytes, oid: ObjectId, promised: PackDigest | None = None) -> Examination:
        """Step 1, and that the pack is the one of ``oid``; raises `CorruptPack`, `NotWhole` before all else."""
        found = scan(pack, self._fmt, self._limits, digest=promised, keep=_KEEP_INFLATED)
        name, kind, parents, raw = first_names(pack, found, self._fmt)
        if name != oid:
            raise CorruptPack(f"this is the pack of {name.hex()}, not of {oid.hex()}")
        return Examination(oid, pack, found, kind, parents, raw)

    def examine(
        self,
        of: Examination,
        promised: PackDigest | None,
        lookup: Lookup,
        absent: Callable[[Sequence[ObjectId]], list[ObjectId]],
        *,
        keep: bool = False,
        search: Search | None = None,
    ) -> Examined:
        """What is left of steps 2 to 4; ``absent`` picks those parents that are not verified here.

        With ``keep`` what was decoded stays with the examination, for another time. ``search``: of `search`.
        Raises `Waiting`, `CorruptPack` (and its BadObject, LimitExceeded, MissingBase), and the gate's `PolicyRefused`.
        """
        check_digest(of.scan.digest, promised)  # it may have been scanned before it was promised
        missing = absent(of.parents)
        if missing:
            raise Waiting(of.oid, missing)
        leniency = STRANGERS if promised is None else Leniency(True, self._gate.accepted_faults)
        decoded, findings = self._decode_and_check(of, lookup, leniency, keep=keep)
        vouch = self._gate.judge(of.kind, of.raw, promised=promised is not None, search=search)
        accepted: frozenset[ObjectId] = frozenset()
        if promised is not None and self._gate.accepted_faults:
            accepted = self._gate.accepted_faults.intersection(d.oid for d in decoded)
        made_s = read_made_s(of.raw) or 0
        return Examined(of.oid, of.kind, made_s, of.parents, of.scan, decoded, vouch, findings, accepted)

    def search(self, of: Examination, promised: PackDigest | None) -> Search | None:
        """The search for the signature that step 4 will ask for, to be begun ahead."""
        signed = SignedRaw(of.oid, "commit" if of.kind == COMMIT else "tag", of.raw)
        return self._gate.search(signed, promised=promised is not None)

    def foresee(self, pack: PackBytes, oid: ObjectId, lookup: Lookup) -> tuple[Finding, ...]:
        """Steps 1 to 3 as every mirror of the publisher goes through them, and all faults; raises `CorruptPack`."""
        return self._decode_and_check(self.scan(pack, oid), lookup, EVERYTHING)[1]

    def _decode_and_check(
        self, of: Examination, lookup: Lookup, leniency: Leniency, *, keep: bool = False
    ) -> tuple[list[Decoded], tuple[Finding, ...]]:

        def base(oid: ObjectId) -> tuple[int, bytes] | None:
            raw = lookup(oid, self._limits.delta_object_bytes)
            return None if raw is None or raw.data is None else (raw.kind, raw.data)

        decoded = of.decoded
        if decoded is None:
            decoded = decode(of.pack, of.scan, self._fmt, self._limits, base)
        if of.checked_for == leniency:
            return decoded, of.findings
        found: list[Finding] = []
        unknown: list[ObjectId] = []
        read = self._reader(lambda: reread(of.pack, decoded, base), lookup, unknown)
        check_pack(
            of.oid,
            decoded,
            self._fmt,
            self._limits,
            read=read,
            inside=self._inside,
            leniency=leniency,
            findings=found,
            passed=self._passed,
            deltas=of.scan.inflated,
        )
        findings = tuple(found)
        if keep:
            of.decoded = decoded
            of.scan = of.scan._replace(inflated={})  # was for the decoder
            if not unknown:  # else what is known by the next time may be a fault
                of.findings, of.checked_for = findings, leniency
        return decoded, findings

    def _reader(
        self, make_own: Callable[[], Callable[[ObjectId], bytes | None]], lookup: Lookup, unknown: list[ObjectId]
    ) -> Read:
        """What the check asks for the targets of links that a new tree names, whether this pack brought them or not."""
        own: Callable[[ObjectId], bytes | None] | None = None  # few packs need it

        def read(oid: ObjectId, most: int) -> RawObject | None:
            nonlocal own
            own = own or make_own()
            data = own(oid)
            found = lookup(oid, most) if data is None else RawObject(BLOB, len(data), data)
            if found is None:
                unknown.append(oid)
            return found

        return read
