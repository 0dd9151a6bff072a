# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for somebody else's program, disk or name server takes no thread from all that a process does besides."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from waiting import WAIT_S

from gtfs.ids import SHA1
from gtfs.node import eventhooks, hooks, upkeep, worktrees
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.node.shared import open_shared
from gtfs.repo.repository import create_repository
from gtfs.state.state import State

pytestmark = pytest.mark.trio


class Hanging:
    """Something that does not return before it is told."""

    def __init__(self) -> None:
        self.answer: list[object] | None = None
        self.is_begun = trio.Event()
        self.may_end = threading.Event()

    def __call__(self, *_given: object, **_more: object) -> list[object] | None:
        trio.from_thread.run_sync(self.is_begun.set)
        self.may_end.wait()
        return self.answer

    async def takes_no_thread_of_others(self, ask: Callable[[], Awaitable[object]]) -> None:
        others = trio.to_thread.current_default_thread_limiter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            try:
                with trio.fail_after(WAIT_S):
                    await self.is_begun.wait()
                assert not others.borrowed_tokens
            finally:
                self.may_end.set()


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


async def look_at_packs(node: Node) -> bool:
    async with trio.open_nursery() as nursery:
        return await node.upkeep.look(nursery, is_busy=False)


WAYS: dict[str, tuple[object, str, Callable[[Node], Awaitable[object]]]] = {
    "a hook of a mirror": (hooks, "run_hooks", lambda node: node.hooks.look()),
    "a hook of an operator": (eventhooks, "run_published_hooks", lambda node: node.event_hooks.look()),
    "the directory of a web server": (eventhooks, "write_set_feed", lambda node: node.event_hooks.write_feed()),
    "a checkout": (worktrees, "follow_worktrees", lambda node: node.worktrees.look()),
    "git at its packs": (upkeep, "repack", look_at_packs),
}


@pytest.mark.parametrize("what", WAYS)
async def test_what_hangs_takes_no_thread_from_others(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: Hanging
) -> None:
    place, name, ask = WAYS[what]
    repository = create_repository(tmp_path / "a.git", SHA1)
    with State(repository) as state:
        state.config.set("worktree", str(tmp_path / "tree"))
        state.config.set("feeddir", str(tmp_path / "www"))
        monkeypatch.setattr(hooks, "follows_hooks", lambda _state: True)
        async with open_node(state, NodeOptions(offline=True)) as node:
            monkeypatch.setattr(place, name, hanging)
            hanging.answer = [] if what == "a checkout" else None
            await hanging.takes_no_thread_of_others(lambda: ask(node))


async def test_a_name_server_that_is_dead_takes_no_thread_from_others(
    monkeypatch: pytest.MonkeyPatch, hanging: Hanging
) -> None:
    async def ask() -> None:
        with pytest.raises(OSError, match="no results"):
            await trio.open_tcp_stream("name.invalid", 1)

    def look_up(*given: int) -> list[object] | None:
        if given[-1] & socket.AI_NUMERICHOST:  # trio asks for that on the loop
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return hanging()

    hanging.answer = []
    async with open_shared(None):
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        await hanging.takes_no_thread_of_others(ask)
