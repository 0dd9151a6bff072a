# SPDX-License-Identifier: GPL-3.0-or-later
"""What a state directory and a publish look like, as gtfs(1) documents them under JSON. Any thread."""

from __future__ import annotations

from itertools import islice
from typing import Any

from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.statementstore import LATEST_FRESHNESS
from gtfs.ingest.quorum import Quorum
from gtfs.layout import Layout
from gtfs.repo.work import Step
from gtfs.state.announcement import short_name
from gtfs.state.announcesettings import Settings, announce_settings
from gtfs.state.checkdue import find_damaged
from gtfs.state.divergence import Divergence
from gtfs.state.feedkey import address, read_feed_key
from gtfs.state.freshness import Refreshed, is_stale
from gtfs.state.hooks import describe_hooks
from gtfs.state.newtags import read_due
from gtfs.state.outstanding import Outstanding, read_failure, read_outstanding
from gtfs.state.proposal import Proposal, waiting_proposal
from gtfs.state.publish import Published
from gtfs.state.rewind import describe_races
from gtfs.state.ring import RingWatch
from gtfs.state.state import State
from gtfs.state.withdrawal import describe_withdrawn

_HELD_BACK_MOST = 1000  # refs that are shown; a mirror that has not been synced may have hundreds of thousands


def describe_state(state: State, seen: Divergence | None = None, watch: RingWatch | None = None) -> dict[str, Any]:
    """The part of the status that needs no running node; ``seen`` is its last look at the refs. Raises `GitFailed`.

    ``watch``: what gpg has told of the keys.
    """
    held = state.held
    if seen is None:
        seen = Divergence(state)
        seen.look()
    held_back, reels = seen.held_back, state.index.reels.all()
    out: dict[str, Any] = {
        "repository": str(state.repository.path),
        "object_format": state.repository.fmt.name,
        "packs": {
            "known": state.index.packs.count(),
            "bytes": state.index.packs.total_bytes(),
            **state.index.packs.count_by_stage(),
        },
        "unencodable": len(state.index.unencodable.all()),
        "reels": len(reels),
        "retired": sum(reel.stage == "retired" for reel in reels),
        "whole": sum(reel.stage == "complete" for reel in reels),
        "damaged": find_damaged(state.layout),
        "quarantine": [{"file": r.path.name, "reason": r.reason} for r in state.quarantine.refused()],
        "policy": "local" if held is None and state.keyring is None else "catalogue" if held else "keyring",
        "keyring": (watch or RingWatch()).describe(state),
        "hooks": describe_hooks(state),
        "running": False,
        "read_only": state.read_only,
        "withdrawn": describe_withdrawn(state),
    }
    if state.config.get("signkey") is not None:
        out["publish"] = describe_publishing(
            state.config.publish_mode(),
            read_outstanding(state.layout),
            waiting_proposal(state),
            describe_announcing(state.layout, announce_settings(state.config)),
        )
    if held is not None:
        c = held.catalogue
        out["catalogue"] = {
            "repository": c.repository,
            "version": c.version,
            "date": c.date_s,
            "valid_until": c.valid_until_s,
            "stale": is_stale(state),
            "fresh_until": None if state.fresh is None else state.fresh.valid_until_s,
            "digest": held.digest,
            "races": describe_races(state),
            "equivocation": state.catalogues.is_disputed(held),
            "signers": list(c.signers),
            "refs": len(c.refs),
            "reels": len(c.reels),
            "followed": not held_back,
            "held_back": len(held_back),
            "behind_since": seen.behind_since_s,
            "publishes": [{"version": version, "date": at} for version, at in state.catalogues.dates().items()],
            "two_packs": sorted(state.attestations.evidence()),
        }
        out["refs_held_back"] = [
            {
                "ref": h.name.decode("utf-8", "replace"),
                "reason": h.reason,
                "at": h.now.hex() if h.now is not None else None,
                "wanted": h.wanted.hex() if h.wanted is not None else None,
                "sync": h.sync_helps,
                "quorum": None if h.quorum is None else describe_quorum(h.quorum),
                "why": None if h.why is None else h.why.describe(),
            }
            for h in held_back[:_HELD_BACK_MOST]
        ]
        out["quorums"] = [
            {"ref": name.decode("utf-8", "replace"), **describe_quorum(quorum)}
            for name, quorum in islice(seen.quorums.items(), _HELD_BACK_MOST)
        ]
    return out


def describe_publishing(
    mode: str, outstanding: Outstanding | None, waiting: Catalogue | None, announcing: dict[str, Any] | None
) -> dict[str, Any]:
    """When a publisher publishes by itself, and what failed of it."""
    return {
        "mode": mode,
        "outstanding": None if outstanding is None else outstanding.describe(),
        "proposed": None if waiting is None else waiting.version,
        "announcing": announcing,
    }


def describe_announcing(layout: Layout, settings: Settings | None) -> dict[str, Any] | None:
    """Where a publisher's tags are announced, which are still to be, and what failed of it."""
    if settings is None:
        return None
    failed = read_failure(layout.unannounced)
    return {
        "repository": str(settings.box),
        "mail": settings.address,
        "due": [short_name(release) for release in read_due(layout)],
        "outstanding": None if failed is None else failed.describe(),
    }


def describe_step(step: Step) -> dict[str, Any]:
    """How far a publish is, as it goes over the control socket."""
    return {"phase": step.phase} if step.phase else {"packs": step.packs, "of": step.packs_of, "bytes": step.size}


def describe_quorum(quorum: Quorum) -> dict[str, Any]:
    """How far a ref that waits for sign-offs has come."""
    return {
        "needed": quorum.needed,
        "have": list(quorum.have),
        "missing": list(quorum.missing),
        "useless": dict(quorum.useless),
    }


def describe_refreshed(state: State, done: Refreshed) -> dict[str, Any]:
    """What `gtfs refresh` shows."""
    path = state.catalogues.directory / LATEST_FRESHNESS
    return {"version": done.version, "valid_until": done.valid_until_s, "new": done.is_new, "file": str(path)}


def describe_published(state: State, published: Published) -> dict[str, Any]:
    """What `gtfs publish` shows."""
    reels = () if state.held is None else state.held.catalogue.reels
    key, name = read_feed_key(state.layout.feed_key), state.config.get("name")
    pointer = [address(key.public, name)] if key is not None and name is not None else []
    return {
        "version": published.version,
        "new": published.is_new,
        "packs": published.packs,
        "new_packs": published.new_packs,
        "new_bytes": published.new_bytes,
        "refs_moved": published.refs_moved,
        "withdrawn": published.withdrawn,
        "kept_refs": [name.decode("utf-8", "replace") for name in published.kept_refs],
        "refs_held_back": {n.decode("utf-8", "replace"): r for n, r in published.held_back.items()},
        "refs_left_out": published.left_out,
        "faults": published.faults.describe(),
        "reels": [{"name": r.name, "infohash": r.infohash.hex(), "size": r.size, "packs": r.rows} for r in reels],
        "announcements": 0 if state.config.get("announce") is None else len(read_due(state.layout)),
        "sources": [str(state.catalogues.latest), state.catalogues.latest.as_uri(), *pointer],
    }


def describe_proposal(state: State, proposal: Proposal | Published) -> dict[str, Any]:
    """What `gtfs publish --propose` shows, beside what it will show when that is published."""
    if isinstance(proposal, Published):
        return {**describe_published(state, proposal), "proposal": None}
    catalogue = proposal.catalogue
    return {
        **describe_published(state, proposal.done),
        "proposal": {
            "name": f"{catalogue.repository}-{catalogue.version}.catalogue",
            "new": proposal.is_new,
            "replaced": proposal.replaced,
            "file": str(proposal.file),
            "before": None if proposal.before is None else str(proposal.before),
            "needs": [str(role) for role in proposal.needed],
        },
    }
