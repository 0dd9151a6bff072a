# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that have nothing to do give back what they hold open; one timer and one thread for all. Trio loop.

Nobody closes a state that the thread looks at just now; one whose disk does not answer keeps nobody else from closing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

import trio

from gtfs.errors import GtfsError
from gtfs.node.memory import give_back
from gtfs.node.node import Node
from gtfs.node.saidonce import SaidOnce

log = logging.getLogger(__name__)

REST_EVERY_S: Final = 15.0  # what was not used for so long, or twice as long, is closed


class Resting:
    """See the module; ``nodes`` gives those that run."""

    def __init__(self, nodes: Callable[[], Iterable[Node]]) -> None:
        self._nodes = nodes
        self._moved = threading.Condition()  # for what follows, which the thread and the loop share
        self._at: Node | None = None  # that the thread looks at
        self._closing: set[Node] = set()
        self._said = SaidOnce(log)

    async def run_task(self) -> None:
        """Go through all of them for ever."""
        while True:
            await trio.sleep(REST_EVERY_S)
            self._closing.clear()  # none of them runs any more
            nodes = list(self._nodes())
            await trio.to_thread.run_sync(self.rest, nodes)

    def rest(self, nodes: Iterable[Node]) -> None:
        """Have each of these give back what it does not use; in a thread."""
        is_much = False
        for node in nodes:
            with self._moved:
                if node in self._closing:
                    continue
                self._at = node
            what = f"{node.state.repository.path}: what it had open was not given back"
            try:
                is_much |= node.state.rest()
                self._said.is_over(what)
            except (GtfsError, OSError) as error:  # it is not to end the others
                self._said.warn(what, error)
            except Exception as error:  # noqa: BLE001  the same
                self._said.fault(what, error)
            finally:
                with self._moved:
                    self._at = None
                    self._moved.notify_all()
        if is_much:
            give_back()

    async def leave(self, node: Node) -> None:
        """Return when the thread does not look at this node, which runs no more, and will not again."""
        with self._moved:
            self._closing.add(node)
            is_at_it = self._at is node
        if is_at_it:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._wait_past, node)

    def _wait_past(self, node: Node) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._at is not node)
