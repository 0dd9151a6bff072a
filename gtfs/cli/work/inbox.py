# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs inbox``: forks are asked for and judged by this process, whether a node of the repository runs or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from gtfs.cli.nodeoptions import parse
from gtfs.cli.source import feed_at
from gtfs.cli.work.configured import swarm_defaults
from gtfs.cli.work.running import raise_file_limit
from gtfs.cli.work.sync import said_once
from gtfs.ids import Fingerprint
from gtfs.node.inbox import describe_inbox, look_at_forks
from gtfs.repo.repository import open_repository
from gtfs.state.fork import BRANCHES
from gtfs.state.inbox import Inbox, fetch_offers, merge_offer, remove_fork
from gtfs.state.private import check_private


def run(
    place: Path, options: Sequence[str], add: str | None, *, fetch: bool, branches: Sequence[str]
) -> dict[str, Any]:
    """What there is, and what was done with it."""
    inbox = _inbox(place)
    added = None if add is None else feed_at(add)
    raise_file_limit()
    with said_once():
        news = trio.run(look_at_forks, inbox, parse([*swarm_defaults(), *options]).node, added)
    wanted = {BRANCHES + name.removeprefix("refs/heads/").encode() for name in branches}
    said = describe_inbox(inbox, news)
    for fork, shown in zip(news.forks, said["forks"], strict=True):
        fetched = fetch_offers(inbox, fork.key, fork.offers) if fetch else {}
        for offer, item in zip(fork.offers, shown["offers"], strict=True):
            item["fetched"] = next((ref for ref, name in fetched.items() if name == offer.ref), None)
            is_wanted = offer.stage == "offered" and offer.ref in wanted
            why = merge_offer(inbox, fork.key, offer, _own_environment()) if is_wanted else None
            item["merged"], item["not_merged"] = is_wanted and why is None, why
    return said


def _own_environment() -> dict[str, str]:
    """What hooks of one's own repository run in, as after any push of one's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def run_remove(place: Path, key: str) -> Fingerprint:
    """Forget a fork."""
    return remove_fork(_inbox(place), key)


def _inbox(place: Path) -> Inbox:
    repository = open_repository(place)
    check_private(repository.layout.root)
    return Inbox(repository)
