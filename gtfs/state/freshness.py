# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the held catalogue counts, by its own word and by freshness statements; and making these (design.md §5).

Any thread; what writes is under the node's lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gtfs.catalogue.freshness import LONGEST_S, Freshness, accept_freshness
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.state.config import BadConfig
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.state import State
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.keyring import choose, freeze, read_user_keys
from gtfs.trust.sign import Signer

log = logging.getLogger(__name__)

DAYS: Final = 30
DAYS_MOST: Final = LONGEST_S // 86400
_RENEW_LEFT: Final = 0.5  # of the validity: as `gtfs publish` does


def is_stale(state: State, now_s: int | None = None) -> bool:
    """Whether there is a catalogue and its time is over: serve on, but move no refs."""
    until_s = state.good_until_s()
    return until_s is not None and (int(time.time()) if now_s is None else now_s) > until_s


def take_freshness(state: State, document: bytes) -> bool:
    """Judge a statement and keep it, durably, if it says more than what is known; True if it does.

    Raises `FreshnessRefused`, `NotFollowing`, OSError.
    """
    held, keyring = state.held, state.keyring
    if held is None or keyring is None:
        raise NotFollowing("there is no catalogue that this freshness statement could be about")
    now_s = int(time.time())
    said = accept_freshness(document, held, keyring, now_s)
    _drop_early(state, now_s)
    until_s = state.good_until_s()
    if said is None or (until_s is not None and said.valid_until_s <= until_s):
        return False
    state.catalogues.save_freshness(said.version, document)
    state.fresh = said
    return True


def _drop_early(state: State, now_s: int) -> None:
    """Forget a statement whose date has not come: the clock was ahead as it was taken, and no mirror takes it."""
    if state.fresh is not None and state.fresh.date_s > now_s + FUTURE_S:
        state.fresh = None


class HeldAnother(GtfsError):
    """Another catalogue came while the freshness of the one before was signed."""

    fault = Blame.BUSY

    def __init__(self, said: int, held: int) -> None:
        super().__init__(
            f"version {held} is held since: what was signed is about {said}, and is not kept; run gtfs refresh again"
        )


@dataclass(frozen=True)
class Refreshed:
    """The statement that holds after a `refresh`; ``is_new`` False if there is time enough as it is."""

    version: int
    valid_until_s: int
    is_new: bool


class FreshnessDraft(NamedTuple):
    """What is to be said, and who signs it: ``sign`` needs no turn to write, as it may wait for a passphrase."""

    said: Freshness
    signer: Signer

    def sign(self) -> bytes:
        """The document; raises `SigningFailed`."""
        return self.signer.clearsign(self.said.to_text())


def draw_freshness(state: State, days: int = DAYS, key: Fingerprint | None = None) -> FreshnessDraft | Refreshed:
    """That the held catalogue is still the newest, unless more than half of that time is left anyhow.

    By ``key``, else the first that this node's settings name, else the first of the catalogue's. Raises
    `NotFollowing`, `BadConfig`, `BadKeyring`, `GnupgUnusable`, OSError.
    """
    held = state.held
    if held is None:
        raise NotFollowing(f"{state.repository.path} holds no catalogue that could be refreshed")
    if not 1 <= days <= DAYS_MOST:
        raise BadConfig(f"--valid-days {days}: not a number from 1 to {DAYS_MOST}")
    candidates = (*state.config.freshness_keys(), *held.catalogue.freshness)
    if key is None:
        usable = [k for k in candidates if k in held.catalogue.freshness]
        if not usable:
            raise BadConfig("the catalogue names no key for this: gtfs init --freshness-key FPR, then gtfs publish")
        key = usable[0]
    now_s, length_s = int(time.time()), days * 86400
    _drop_early(state, now_s)
    until_s = state.good_until_s()
    if until_s is not None and until_s - now_s > _RENEW_LEFT * length_s:
        return Refreshed(held.catalogue.version, until_s, False)
    trust_by_name(state, [key])
    said = Freshness(held.catalogue.repository, held.catalogue.version, held.digest, now_s, now_s + length_s)
    return FreshnessDraft(said, Signer(key, state.config.gnupg_home()))


def keep_freshness(state: State, drawn: FreshnessDraft, document: bytes) -> Refreshed:
    """Keep what was signed, by the rules that mirrors apply, before anybody is told.

    Raises `HeldAnother`, and as `take_freshness`.
    """
    if state.held is not None and state.held.digest != drawn.said.digest:
        raise HeldAnother(drawn.said.version, state.held.catalogue.version)
    is_new = take_freshness(state, document)
    return Refreshed(drawn.said.version, state.good_until_s() or drawn.said.valid_until_s, is_new)


def refresh(state: State, days: int = DAYS, key: Fingerprint | None = None) -> Refreshed:
    """The three together, for who keeps nobody waiting; raises what they do."""
    drawn = draw_freshness(state, days, key)
    return drawn if isinstance(drawn, Refreshed) else keep_freshness(state, drawn, drawn.sign())


def trust_by_name(state: State, keys: Sequence[Fingerprint]) -> None:
    """Bring the public halves of keys that are not in the frozen ring from the user's GnuPG, to count by name only.

    Raises `BadKeyring`, `GnupgUnusable`, OSError.
    """
    before = state.keyring
    lacking = [key for key in keys if before is None or key not in before.primaries]
    if not lacking:
        return
    found = choose(lacking, read_user_keys(lacking, state.config.gnupg_home()), "of GnuPG")
    here = before.primaries if before is not None else ()
    freeze(found, state.layout.keyring, before=before, stay=here, left=state.layout.left_keys)
    state.use_keyring({*(before.named_only if before is not None else ()), *lacking})
