# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs trust`` where no node runs, and what of it no node does: the user's own GnuPG."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gtfs.ids import parse_fingerprint
from gtfs.repo.repository import open_repository
from gtfs.state.ring import BadTrust, answer
from gtfs.state.state import State
from gtfs.trust.propose import Proposed, export, propose


def run(place: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the node would answer."""
    with State(open_repository(place), may_be_read_only=request.get("verb") == "list") as state:
        return answer(state, request)


def find_proposed(home: Path | None, accepted: Sequence[str], every: bool) -> list[Proposed]:
    """What is proposed, with all that is accepted among it; raises `BadTrust` for what is not, `BadId`."""
    found = propose(home, every=every)
    for fingerprint in map(parse_fingerprint, accepted):
        if fingerprint not in {p.fingerprint for p in found}:
            raise BadTrust(f"{fingerprint} is not proposed; who trusts it for other reasons: gtfs trust REPO add FILE")
    return found


@contextmanager
def accepted_file(home: Path | None, accepted: Sequence[str]) -> Iterator[Path]:
    """A file of these keys, in memory alone, for the node to read, which may have no access to the user's GnuPG."""
    fd = os.memfd_create("accepted")
    with open(fd, "wb") as file:
        file.write(export(home, [parse_fingerprint(text) for text in accepted]))
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
