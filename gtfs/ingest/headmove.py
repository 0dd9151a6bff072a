# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a mirror's HEAD may go where a catalogue has it (design.md §10). One thread.

A catalogue names HEAD without anybody else's signature, and checkouts and clones follow it. So it is the owner's own
lines that count: those of the catalogue are whose who names HEAD.
"""

from __future__ import annotations

from collections.abc import Sequence

from gtfs.repo.history import read_head
from gtfs.repo.repository import Repository
from gtfs.trust.policy import Policy, asks_as_much, policy_for
from gtfs.trust.refnames import encode_name


def why_head_stays(repository: Repository, wanted: bytes | None, local: Sequence[Policy]) -> str | None:
    """What the owner's lines have against HEAD at ``wanted``, if it is elsewhere; None if nothing.

    Of the branch where it is now they may ask for signatures or sign-offs that they do not ask for of the other.
    """
    now = read_head(repository) if local and wanted is not None else None
    if wanted is None or now is None or now == wanted:
        return None
    ours, theirs = policy_for(now, local), policy_for(wanted, local)
    if ours is None or not ours.asks_for_packs or (theirs is not None and asks_as_much(theirs, ours)):
        return None
    name = encode_name(wanted)
    return (
        f"the policy of this repository asks more of {encode_name(now)}, where HEAD is, than of {name}, where the"
        f" catalogue has it; git symbolic-ref HEAD {name} says that it shall go there"
    )
