# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of `gtfs.ingest.ingest` came to. One thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from gtfs.errors import GtfsError, without_frames
from gtfs.ids import ObjectId
from gtfs.ingest.batch import Member
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.faults import FaultCounts


@dataclass
class Outcome:
    """What became of the candidates of a run."""

    unpacked: list[ObjectId] = field(default_factory=list)
    waiting: list[tuple[Candidate, tuple[ObjectId, ...]]] = field(default_factory=list)
    refused: list[tuple[Candidate, GtfsError]] = field(default_factory=list)
    faults: FaultCounts = field(default_factory=FaultCounts)  # of what was unpacked

    def note(self, member: Member) -> None:
        """Note a pack that was let in."""
        self.unpacked.append(member.oid)
        self.faults.add(member.findings)

    def refuse(self, candidate: Candidate, why: GtfsError) -> None:
        """Note a pack that was refused, and why."""
        self.refused.append((candidate, without_frames(why)))
