# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed``: several nodes without a mount, in one process with one port, until it is told to end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import trio

from gtfs.cli.nodeoptions import BadNodeOption, Said, parse
from gtfs.cli.source import source_at
from gtfs.cli.terminal import complain, say, size_text
from gtfs.cli.work.logs import open_log
from gtfs.cli.work.running import may_ask, raise_file_limit
from gtfs.cli.work.signals import end_signals, ended_by, reread_task
from gtfs.events import events
from gtfs.mount.daemon import tell_manager
from gtfs.node.node import Node
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.opening import open_source
from gtfs.repo.repository import BadRepository, open_repository
from gtfs.state.config import Config
from gtfs.state.source import Source
from gtfs.swarm.session import Session, open_session

log = logging.getLogger(__name__)


def run(repos: Sequence[str], options: Sequence[str]) -> int:
    """Seed until a signal ends it."""
    said = parse(options)
    if said.node.offline:
        raise BadNodeOption("offline: there is nothing to seed without a swarm")
    if said.command.repo is not None and len(repos) > 1:
        raise BadNodeOption("repo= is for one SOURCE")
    sources = [source_at(repo, said.command.repo) for repo in dict.fromkeys(repos)]
    raise_file_limit()
    trio.run(_run, sources, said)
    return 0


async def _run(sources: list[Source], said: Said) -> None:
    early = [number for number in end_signals() if number is not signal.SIGINT]  # that is trio's own
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async with ended_by(*early), open_session(said.node.swarm) as session, contextlib.AsyncExitStack() as stack:
            nodes = []
            for source in sources:
                its = said.node if not _is_clone(source) else replace(said.node, prefetch=True)  # else reels stay away
                opened = open_source(source, may_ask(said.trust), its, session)
                nodes.append(await stack.enter_async_context(opened))
                _tell_empty(nodes[-1])
            with trio.open_signal_receiver(*end_signals()) as signals:
                await _seed(nodes, session, said.command.logfile, signals, hangups)


async def _seed(
    nodes: list[Node], session: Session, logfile: Path | None, signals: AsyncIterator[int], hangups: AsyncIterator[int]
) -> None:
    """From open nodes to a signal that ends them."""
    manager = os.environ.pop("NOTIFY_SOCKET", "")
    async with open_flat_nursery() as nursery:

        async def end_task() -> None:
            async for number in signals:
                log.info("%s: ending", signal.Signals(number).name)
                nursery.cancel_scope.cancel()

        nursery.start_soon(end_task)
        for node in nodes:
            await node.take_up()
            if node.state.config.is_clone():
                await node.reel_torrents.encode()
            await node.reel_torrents.update()
            await nursery.start(node.run_task)
        torrents = session.torrents()
        size = size_text(sum(torrent.local_bytes() for torrent in torrents))
        say(f"seeding {len(torrents)} reels of {len(nodes)} repositories, {size}, on port {session.port}")
        open_log(logfile, 2)
        for node in nodes:
            events.info("%s is seeded on port %d", node.state.repository.path, session.port)
        nursery.start_soon(reread_task, hangups, nodes, logfile, (2,))
        if manager:
            tell_manager(manager, "READY=1\n")


def _is_clone(source: Source) -> bool:
    return source.feed is None and Config(open_repository(source.repository)).is_clone()


def _tell_empty(node: Node) -> None:
    """Say so where there is nothing to seed; raises `BadRepository` where there can be nothing."""
    state = node.state
    if state.held is not None:
        return
    if state.config.sign_key() is None:
        raise BadRepository(
            f"{state.repository.path} has nothing to seed: it follows no catalogue, and is no publisher's (gtfs init)"
        )
    complain(f"{state.repository.path} has published nothing yet: run gtfs publish {state.repository.path}")
