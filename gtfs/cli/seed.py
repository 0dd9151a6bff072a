# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed``: several nodes without a mount, in one process with one port, until it is told to end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

import click
import trio

from gtfs.cli.nodeoptions import BadNodeOption, NodeSettings, help_text, parse
from gtfs.cli.running import given_trust, node_options, raise_file_limit, source_of
from gtfs.cli.terminal import size_text
from gtfs.mount.daemon import tell_manager
from gtfs.node.node import NodeOptions
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.source import Source, open_source
from gtfs.swarm.session import open_session

log = logging.getLogger(__name__)


@click.command(epilog=help_text())
@click.argument("repos", metavar="REPO...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "options", multiple=True, metavar="OPT,OPT=VALUE,...", help="Options, see mount.fuse.gtfs(8).")
def seed(repos: tuple[str, ...], options: tuple[str, ...]) -> int:
    """Seed each REPO, and follow its feeds, from one process and one port until Ctrl-C or SIGTERM.

    REPO is the bare repository of a publisher or mirror, or any other SOURCE.
    """
    mount_options, settings = parse(options)
    if settings.swarm is None:
        raise BadNodeOption("offline: there is nothing to seed without a swarm")
    if settings.repo is not None and len(repos) > 1:
        raise BadNodeOption("repo= is for one SOURCE")
    sources = [source_of(repo, settings) for repo in dict.fromkeys(repos)]
    raise_file_limit()
    trio.run(_run, sources, settings, node_options(settings, mount_options.read_timeout_s))
    return 0


async def _run(sources: list[Source], settings: NodeSettings, options: NodeOptions) -> None:
    manager = os.environ.pop("NOTIFY_SOCKET", "")
    signals = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with signals as received:
        async with open_session(options.swarm) as session, contextlib.AsyncExitStack() as stack:
            nodes = []
            for source in sources:
                nodes.append(
                    await stack.enter_async_context(open_source(source, given_trust(settings), options, session))
                )
            async with open_flat_nursery() as nursery:

                async def end_task() -> None:
                    async for number in received:
                        log.info("%s: ending", signal.Signals(number).name)
                        nursery.cancel_scope.cancel()

                nursery.start_soon(end_task)
                for node in nodes:
                    await node.take_up(lambda _n: None, lambda _n, _b: None)
                    await node.reels.update()
                    await nursery.start(node.run_task)
                torrents = session.torrents()
                size = size_text(sum(torrent.local_bytes() for torrent in torrents))
                click.echo(
                    f"seeding {len(torrents)} reels of {len(nodes)} repositories, {size}, on port {session.port}"
                )
                if manager:
                    tell_manager(manager, "READY=1\n")
