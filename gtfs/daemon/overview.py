# SPDX-License-Identifier: GPL-3.0-or-later
"""How every repository of a roster fares, those among them that do not run. Trio loop."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from gtfs.collection.wanted import WantedRepository
from gtfs.daemon.roster import NodeEnded, Roster, RosterMember, trouble_text
from gtfs.node.overview import judge_node
from gtfs.overview.health import RepositoryHealth, Thresholds, unanswered
from gtfs.state.damage import is_damage


async def judge_roster(roster: Roster, thresholds: Thresholds) -> list[RepositoryHealth]:
    """Each by the name that it has there."""
    return [await _judge(member, thresholds) for member in roster.members()]


async def _judge(member: RosterMember, thresholds: Thresholds) -> RepositoryHealth:
    if member.node is not None:
        name = None if _is_place(member.wanted) else member.wanted.name
        with contextlib.suppress(NodeEnded):
            return await member.asked(partial(judge_node, thresholds=thresholds, name=name))
    if member.trouble is not None:
        return unanswered(member.wanted.name, trouble_text(member.trouble), is_damaged=is_damage(member.trouble))
    return unanswered(member.wanted.name, "it is being opened")


def _is_place(wanted: WantedRepository) -> bool:
    """Whether its name is only where it is, as on the command line: then the catalogue has a better one."""
    return wanted.name == wanted.source or Path(wanted.name).absolute() == wanted.directory.absolute()
