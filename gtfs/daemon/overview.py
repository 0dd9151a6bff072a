# SPDX-License-Identifier: GPL-3.0-or-later
"""How every repository of a roster fares, those among them that do not run, and collections that do not. Trio loop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from gtfs.collection.wanted import WantedRepository
from gtfs.daemon.roster import Roster, RosterMember, trouble_text
from gtfs.node.node import Node
from gtfs.node.overview import judge_node
from gtfs.node.saidonce import SaidOnce
from gtfs.overview.health import RepositoryHealth, Thresholds, stopped, unanswered
from gtfs.state.damage import is_damage

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
ANSWER_S: Final = 5.0  # so long a node may think: a disk that does not answer is to hold up no other's line


class RosterOverview:
    """Made once for a roster. Of a node that has not answered it begins no second look: there is one thread for it."""

    def __init__(self, roster: Roster, thresholds: Thresholds) -> None:
        self._roster = roster
        self._thresholds = thresholds
        self._some = trio.CapacityLimiter(AT_ONCE)
        self._looked_at: set[Node] = set()
        self._said = SaidOnce(log)

    async def judge(self) -> list[RepositoryHealth]:
        """Each by the name that it has there."""
        found: dict[str, RepositoryHealth] = {}

        async def judge(member: RosterMember) -> None:
            async with self._some:
                found[member.wanted.name] = await self._judge(member)

        members = self._roster.members()
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(judge, member)
        return [found[member.wanted.name] for member in members] + stopped(self._roster.collections())

    async def _judge(self, member: RosterMember) -> RepositoryHealth:
        name, node, nursery = member.wanted.name, member.node, member.nursery
        if node is not None and nursery is not None:
            done: list[RepositoryHealth] = []
            if node not in self._looked_at:
                self._looked_at.add(node)
                ended = trio.Event()
                # As a part of its run, so that it closes nothing meanwhile, though nobody waits for it any more.
                nursery.start_soon(self._look_task, member, node, done, ended)
                with trio.move_on_after(ANSWER_S):
                    await ended.wait()
            if done:
                return done[0]
            if member.node is node:
                return unanswered(name, "its node does not answer")
        if member.trouble is not None:
            return unanswered(name, trouble_text(member.trouble), is_damaged=is_damage(member.trouble))
        return unanswered(name, "it is being opened")

    async def _look_task(
        self, member: RosterMember, node: Node, done: list[RepositoryHealth], ended: trio.Event
    ) -> None:
        known = None if _is_place(member.wanted) else member.wanted.name
        what = f"{member.wanted.name} cannot be judged"
        try:
            done.append(await judge_node(node, self._thresholds, known))
            self._said.is_over(what)
        except Exception as error:  # noqa: BLE001  it is neither to end the node nor to hide the others
            self._said.fault(what, error)
            said = f"a fault of gtfs ({type(error).__name__}: {error}); please report what the log says"
            done.append(unanswered(member.wanted.name, said))
        finally:
            self._looked_at.discard(node)
            ended.set()


def _is_place(wanted: WantedRepository) -> bool:
    """Whether its name is only where it is, as on the command line: then the catalogue has a better one."""
    return wanted.name == wanted.source or Path(wanted.name).absolute() == wanted.directory.absolute()
