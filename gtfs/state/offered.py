# SPDX-License-Identifier: GPL-3.0-or-later
"""Which offers a publisher has been told of, and its operator's hook that hears of each (gtfs(1), HOOKS). Any thread.

Each is told once, also after a restart, and again when it has moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gtfs.ids import Fingerprint
from gtfs.repo.hooks import OFFERED
from gtfs.state.control import read_object
from gtfs.state.eventhooks import HookNews, Stop, plain_line, run_event_hooks
from gtfs.state.state import State

_TOLD: Final = "offers-told"  # in the index: the tip of each, by `NewOffer.id`


class NewOffer(NamedTuple):
    """A branch of a fork in the inbox that holds by the rules of now; ``commits`` as `gtfs inbox` shows them."""

    key: Fingerprint
    ref: bytes
    tip: str
    fork: Path
    commits: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The ref in one line of text."""
        return plain_line(self.ref.decode("utf-8", "replace"))

    @property
    def id(self) -> str:
        """What it is known by, whatever it holds."""
        return f"{self.key} {self.ref.hex()}"


def note_offers(state: State, offers: Sequence[NewOffer]) -> list[NewOffer]:
    """Those that are new, or stand elsewhere than the last time; all of them are known from now on."""
    before = _known(state.index.meta.get(_TOLD))
    now = {offer.id: offer.tip for offer in offers}
    if now != before:
        state.index.meta.set(_TOLD, json.dumps(now))
    return [offer for offer in offers if before.get(offer.id) != offer.tip]


def run_offered_hooks(state: State, offers: Sequence[NewOffer], stop: Stop, directories: Sequence[Path] = ()) -> bool:
    """Tell each hook of the offers of which it has not heard; False if one failed. Raises as `run_event_hooks` does."""
    there = {offer.id for offer in offers}

    def news(heard: str | None) -> Iterator[HookNews]:
        known = {id_: tip for id_, tip in _known(heard).items() if id_ in there}
        for offer in offers:
            if known.get(offer.id) == offer.tip:
                continue
            known[offer.id] = offer.tip
            words = {
                "GTFS_EVENT": OFFERED,
                "GTFS_OFFER_KEY": offer.key,
                "GTFS_OFFER_REF": offer.name,
                "GTFS_OFFER_TIP": offer.tip,
                "GTFS_OFFER_FORK": str(offer.fork),
            }
            lines = (f"{c['oid']} {c['signer']} {c['subject']}\n" for c in offer.commits)
            yield HookNews(words, "".join(lines).encode("utf-8", "replace"), json.dumps(known))

    return run_event_hooks(state, OFFERED, news, stop, directories)


def _known(text: str | None) -> dict[str, str]:
    return {str(id_): str(tip) for id_, tip in (read_object((text or "{}").encode()) or {}).items()}
