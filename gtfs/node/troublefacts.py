# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of its troubles, for the look that each takes now and then: it costs next to nothing. Trio loop."""

from __future__ import annotations

from typing import Any

from gtfs.ids import REEL_SUFFIX
from gtfs.node.keepup import KeepUp
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.worktrees import Worktrees
from gtfs.state.checkdue import find_damaged
from gtfs.state.freshness import is_stale
from gtfs.state.outstanding import read_outstanding
from gtfs.state.state import State
from gtfs.view.written import WrittenPacks


def trouble_facts(
    state: State, reel_torrents: ReelTorrents, written: WrittenPacks, worktrees: Worktrees, keep_up: KeepUp
) -> dict[str, Any]:
    """The part of a status that `find_troubles` reads, from memory and small files: no index is opened for it."""
    failed = [{"hook": f.hook, "reason": f.reason} for f in state.index.hooks.failures()]
    reels = {
        torrent.spec.file_name.removesuffix(REEL_SUFFIX): {"failure": torrent.trouble}
        for torrent in reel_torrents.torrents()
    }
    out: dict[str, Any] = {
        "swarm": {"reels": reels},
        "damaged": find_damaged(state.layout),
        "incoming": written.statistics(),
        "hooks": {"failed": failed},
        "worktrees": worktrees.describe(),
        "following": keep_up.describe(),
    }
    if state.config.get("signkey") is not None:
        outstanding = read_outstanding(state.layout)
        out["publish"] = {"outstanding": None if outstanding is None else outstanding.describe()}
    if (held := state.held) is not None:
        out["catalogue"] = {
            "version": held.catalogue.version,
            "equivocation": state.catalogues.is_disputed(held),
            "two_packs": sorted(state.attestations.evidence()),
            "stale": is_stale(state),
        }
    return out
