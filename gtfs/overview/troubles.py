# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator is told of as trouble, by kind, from a node's status (gtfs(1), JSON). Pure.

A reason has no figure that grows by itself: it is another one only when there is something new to say.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

TroubleKind = Literal[
    "equivocation",
    "stale",
    "damaged",
    "disk-full",
    "not-taken-in",
    "not-published",
    "feed-not-written",
    "hook-failed",
    "worktree-behind",
]

_FULL: Final = os.strerror(errno.ENOSPC)  # as libtorrent, too, has it from the system


def find_troubles(told: Mapping[str, Any]) -> dict[str, str]:
    """The reason of each kind of trouble that there is; the first of a kind."""
    found: dict[str, str] = {}
    for kind, reason in each_trouble(told):
        found.setdefault(kind, reason)
    return found


def each_trouble(told: Mapping[str, Any]) -> Iterator[tuple[TroubleKind, str]]:
    """Every one, with its kind."""
    held = told.get("catalogue")
    if held is not None:
        if held["equivocation"]:
            yield "equivocation", f"the publisher signed two different catalogues of version {held['version']}"
        for attester in held.get("two_packs", ()):
            yield "equivocation", f"the attester {attester} signed two packs for one commit"
        if held["stale"]:
            yield "stale", f"catalogue {held['version']} is past its Valid-Until: refs do not move"
    failed = {
        n: r["failure"] for n, r in (told.get("swarm") or {}).get("reels", {}).items() if r["failure"] is not None
    }
    for name, reason in failed.items():
        yield "disk-full" if _FULL in reason else "damaged", f"reel {name}: {reason}"
    for name, reason in (told.get("damaged") or {}).items():
        yield "damaged", f"reel {name}: {reason}"
    error = (told.get("incoming") or {}).get("error")
    if error is not None:
        yield "disk-full" if _FULL in error else "not-taken-in", error
    error = (told.get("following") or {}).get("error")  # else most likely somebody is away, and will be back
    if error is not None and _FULL in error and not failed:
        yield "disk-full", error
    outstanding = (told.get("publish") or {}).get("outstanding")
    if outstanding is not None:
        yield "disk-full" if _FULL in outstanding["reason"] else "not-published", outstanding["reason"]
    if (feed := told.get("feed_error")) is not None:  # not from an older node
        yield "disk-full" if _FULL in feed else "feed-not-written", feed
    for hook in (told.get("hooks") or {}).get("failed", ()):
        if not hook["hook"].endswith("/trouble"):  # it cannot tell of itself
            yield "hook-failed", hook["reason"]
    for its in told.get("worktrees", ()):  # not from an older node
        if its["trouble"] is not None:
            kind: TroubleKind = "disk-full" if _FULL in its["trouble"] else "worktree-behind"
            yield kind, f"the checkout {its['path']}: {its['trouble']}"
