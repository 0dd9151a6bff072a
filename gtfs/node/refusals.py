# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeds gave that was refused: said once, and the same bytes are not judged at every poll. Trio loop."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Final

from gtfs.catalogue.accept import CatalogueRefused, FromFuture
from gtfs.catalogue.document import BadCatalogue
from gtfs.errors import GtfsError, without_frames
from gtfs.node.saidonce import SaidOnce
from gtfs.state.state import State

log = logging.getLogger(__name__)

AGAIN_S: Final = 3600.0  # a judgement may depend on the clock


@dataclass(frozen=True)
class _Refusal:
    key: tuple[object, ...]
    error: GtfsError
    judged_s: float  # monotonic


class Refusals:
    """The last refusal of each feed, by its text."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: dict[str, _Refusal] = {}
        self._said = SaidOnce(log)

    def judge_again(self) -> None:
        """Somebody who may have mended what was wrong asks."""
        self._last = {feed: _Refusal((), refusal.error, refusal.judged_s) for feed, refusal in self._last.items()}

    def check(self, feed: str, document: bytes) -> None:
        """Raise the error of the last time if this is what was refused then, and nothing that counts has changed."""
        refusal = self._last.get(feed)
        if refusal is not None and refusal.key == self._key(document) and time.monotonic() - refusal.judged_s < AGAIN_S:
            raise without_frames(refusal.error)

    def note(self, feed: str, document: bytes, error: GtfsError) -> None:
        """Remember, and say, why a document was refused."""
        self._said.warn(f"feed {feed}", error)
        is_lasting = isinstance(error, BadCatalogue | CatalogueRefused) and not isinstance(error, FromFuture)
        self._last[feed] = _Refusal(self._key(document) if is_lasting else (), without_frames(error), time.monotonic())

    def _key(self, document: bytes) -> tuple[object, ...]:
        held, keyring = self._state.held, self._state.keyring
        return (
            hashlib.sha256(document).digest(),
            None if held is None else held.digest,
            None if keyring is None else keyring.digest,
        )
