# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps 1 to 4 of design.md §8 for one pack: scan, decode and hash, check, policy. Nothing is written. One thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gtfs.errors import GtfsError
from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.ingest.checkobjects import check_pack
from gtfs.ingest.faults import EVERYTHING, STRANGERS, Finding, Leniency
from gtfs.pack.decode import Decoded, decode, reread
from gtfs.pack.format import COMMIT, TAG, CorruptPack
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.objects import read_commit_names, read_made_s, read_tag_target
from gtfs.pack.scan import PackBytes, Scan, inflate, scan
from gtfs.trust.policy import Vouch

_KEEP_INFLATED = 16 * MIB  # bytes a scan may keep for the decoder
_SMALL = 4096  # bytes; PATH_MAX, and so the longest link
_SMALL_COUNT = 4096

Lookup = Callable[[ObjectId], tuple[int, bytes] | None]


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

    def judge(self, kind: int, raw: bytes, *, promised: bool) -> Vouch:
        """Raises `PolicyRefused`."""


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

    def __init__(self, fmt: ObjectFormat, limits: Limits, gate: Gate) -> None:
        self._fmt = fmt
        self._limits = limits
        self._gate = gate
        self._small: dict[ObjectId, bytes] = {}  # link targets, which every new tree beside them names again

    def examine(
        self,
        pack: PackBytes,
        oid: ObjectId,
        promised: PackDigest | None,
        lookup: Lookup,
        absent: Callable[[Sequence[ObjectId]], list[ObjectId]],
    ) -> Examined:
        """Steps 1 to 4; ``absent`` picks those parents that are not verified here.

        Raises `Waiting`, `CorruptPack` (and its BadObject, LimitExceeded, MissingBase), and the gate's `PolicyRefused`.
        """
        found = scan(pack, self._fmt, self._limits, digest=promised, keep=_KEEP_INFLATED)
        name, kind, parents, raw = first_names(pack, found, self._fmt)
        if name != oid:
            raise CorruptPack(f"this is the pack of {name.hex()}, not of {oid.hex()}")
        missing = absent(parents)
        if missing:
            raise Waiting(oid, missing)
        leniency = STRANGERS if promised is None else Leniency(True, self._gate.accepted_faults)
        decoded, findings = self._check(pack, oid, found, lookup, leniency)
        vouch = self._gate.judge(kind, raw, promised=promised is not None)
        time_s = read_made_s(raw) or 0
        return Examined(oid, kind, time_s, parents, found, decoded, vouch, tuple(findings))

    def foresee(self, pack: PackBytes, oid: ObjectId, lookup: Lookup) -> list[Finding]:
        """Steps 1 to 3 as every mirror of the publisher goes through them, and all faults; raises `CorruptPack`."""
        found = scan(pack, self._fmt, self._limits, keep=_KEEP_INFLATED)
        return self._check(pack, oid, found, lookup, EVERYTHING)[1]

    def _check(
        self, pack: PackBytes, oid: ObjectId, found: Scan, lookup: Lookup, leniency: Leniency
    ) -> tuple[list[Decoded], list[Finding]]:
        decoded = decode(pack, found, self._fmt, self._limits, lookup)
        findings: list[Finding] = []
        read = self._reader(reread(pack, decoded, lookup), lookup)
        check_pack(oid, decoded, self._fmt, self._limits, read=read, leniency=leniency, findings=findings)
        return decoded, findings

    def _reader(self, own: Callable[[ObjectId], bytes | None], lookup: Lookup) -> Callable[[ObjectId], bytes | None]:
        """What the check asks for the targets of links that a new tree names, whether this pack brought them or not."""

        def read(oid: ObjectId) -> bytes | None:
            data = self._small.get(oid)
            if data is None:
                data = own(oid)
                if data is None and (found := lookup(oid)) is not None:
                    data = found[1]
                if data is not None and len(data) <= _SMALL:
                    if len(self._small) >= _SMALL_COUNT:
                        self._small.clear()
                    self._small[oid] = data
            return data

        return read
