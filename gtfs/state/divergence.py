# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refs of a mirror are elsewhere than the held catalogue says, and why: from the refs as they are. Any thread.

`Divergence` is a running node's last look, which `gtfs status` and ``.gtfs/status`` show at once.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Sequence

from gtfs.ingest.headmove import why_head_stays
from gtfs.ingest.quorum import Quorum
from gtfs.ingest.refmoves import HeldBack, survey_quorums, survey_refs
from gtfs.repo.history import Ref
from gtfs.repo.repository import GitFailed
from gtfs.state.freshness import is_stale
from gtfs.state.state import State
from gtfs.trust.reason import Reason, refused
from gtfs.trust.stanza import write_time

_SHARE = 20.0  # times as long as a look takes, none is taken


def all_stay(state: State) -> Reason | None:
    """What keeps every ref where it is, whatever the policy says; None without such a thing."""
    held = state.held
    if held is None:
        return refused("catalogue", "", "there is no catalogue", "no-catalogue")
    if is_stale(state):
        until = write_time(state.good_until_s() or 0)
        text = f"the catalogue is past its Valid-Until, {until}: stale until a newer one, if this clock is right"
        return refused("freshness", held.digest, text, "stale")
    if state.fallen is not None:
        return refused("catalogue", held.digest, state.fallen, "fallen")
    if state.catalogues.is_disputed(held):
        text = "the publisher signed two catalogues of this version"
        return refused("catalogue", held.digest, text, "two-catalogues")
    return None


def why_all_stay(state: State) -> str | None:
    """The same in words."""
    reason = all_stay(state)
    return None if reason is None else reason.text


def refs_held_back(state: State, refs: Sequence[Ref] | None = None) -> list[HeldBack]:
    """Of all ``refs`` (None: as they stand) and HEAD those that are elsewhere than the held catalogue says.

    None for a publisher, and for a clone, whose refs are git's. Raises `GitFailed`.
    """
    held = state.held
    if held is None or state.config.sign_key() is not None or state.config.is_clone():
        return []
    demands = state.demands()
    found = survey_refs(state.repository, state.index, held.catalogue.refs, demands, refs)
    head = why_head_stays(state.repository, held.catalogue.head, demands.local)
    if head is not None:
        found.append(HeldBack(b"HEAD", head, None, None, sync_helps=False))
    why = all_stay(state)
    return found if why is None else [h._replace(reason=why.text, sync_helps=False, why=why) for h in found]


def ref_quorums(state: State) -> dict[bytes, Quorum]:
    """How far each ref of the catalogue has come that needs sign-offs; none for a publisher. Raises `GitFailed`."""
    held = state.held
    if held is None or state.config.sign_key() is not None:
        return {}
    return survey_quorums(state.repository, state.index, held.catalogue.refs, state.demands())


def _came_s(state: State) -> int:
    """When the held catalogue came here: refs that are not where it says are behind at least since then."""
    now_s = time.time()
    came_s = None if state.held is None else state.catalogues.accepted_s(state.held.catalogue.version)
    return int(now_s if came_s is None else min(came_s, now_s))


class Divergence:
    """What was found at the last look; ``is_old`` says that another one is wanted."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.held_back: list[HeldBack] = []
        self.quorums: dict[bytes, Quorum] = {}
        self.behind_since_s: int | None = None  # since when refs are held back, as far as is known
        self.is_old = True
        self._took_s = 0.0
        self._looked_s = -math.inf
        self._looking = threading.Lock()  # or what an older look found could take the place of what a newer one did

    def is_due(self, now_s: float) -> bool:
        """Whether to look again now: so rarely that it takes little of the time, however many refs there are."""
        if not self.is_old or now_s < self._looked_s + _SHARE * self._took_s:
            return False
        self._looked_s = now_s
        return True

    def look(self, refs: Sequence[Ref] | None = None) -> None:
        """Look again, at refs that were just read if they are given; raises `GitFailed`."""
        with self._looking:
            self.is_old = False
            start_s = time.monotonic()
            self.held_back = refs_held_back(self._state, refs)
            self.quorums = ref_quorums(self._state)
            self.behind_since_s = (self.behind_since_s or _came_s(self._state)) if self.held_back else None
            self._took_s = time.monotonic() - start_s

    def try_look(self, refs: Sequence[Ref] | None = None) -> None:
        """Look again, unless git cannot be read: this only tells, and another look follows."""
        with contextlib.suppress(GitFailed):
            self.look(refs)
