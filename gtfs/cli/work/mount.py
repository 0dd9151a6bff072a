# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mount``: into the background once the mount stands."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import trio

from gtfs.cli.ask import wait_for_node
from gtfs.cli.nodeoptions import Said, parse
from gtfs.cli.source import source_at
from gtfs.cli.terminal import bar, complain, os_error_text, size_text
from gtfs.cli.work.logs import open_log
from gtfs.cli.work.running import may_ask, raise_file_limit, tell_wait
from gtfs.cli.work.signals import ENDS, end_signals, ended_by, ends_with_terminal, reread_task
from gtfs.errors import Blame, GtfsError
from gtfs.events import events
from gtfs.feed import LATEST
from gtfs.layout import Layout
from gtfs.mount.daemon import Daemon, StartOutcome, daemonize, tell_manager
from gtfs.mount.lifetime import serve
from gtfs.mount.mount import Mount
from gtfs.mount.mountpoint import check_mountpoint, detach_dead
from gtfs.node.inboxwatch import watch_inbox_task
from gtfs.node.node import Node
from gtfs.node.nursery import first_error
from gtfs.node.opening import open_source
from gtfs.node.overview import ServedOverview, judge_node
from gtfs.overview.health import RepositoryHealth
from gtfs.state.source import Source

log = logging.getLogger(__name__)


def run(source: str, directory: str, options: Sequence[str], foreground: bool) -> int:
    """Mount SOURCE; without ``foreground`` the parent returns when the mount stands."""
    said = parse(options)
    if Path(source).is_dir() and not _is_source(source) and _is_source(directory):
        raise click.UsageError(f"the SOURCE comes first: gtfs mount {directory} {source}")
    found = source_at(source, said.command.repo)
    raise_file_limit()
    while detach_dead(Path(directory)):
        complain(f"detached the dead mount on {directory}: its process was gone")
    place = check_mountpoint(Path(directory))
    wait_for_node(Layout.in_repository(found.repository).lock)  # that of a mount which has just been taken away ends
    tell_wait(found)
    if foreground:
        trio.run(_run, found, place, said, None)
        return 0
    daemon = daemonize()
    if isinstance(daemon, StartOutcome):
        if daemon.message:
            complain(daemon.message)
        return daemon.exit_code
    sys.exit(_in_background(daemon, found, place, said))


def _is_source(text: str) -> bool:
    """Whether a word is the place of a catalogue or of a repository."""
    path = Path(text)
    return (
        re.match(r"(file|https?|gtfs):", text) is not None
        or path.is_file()
        or any((path / name).exists() for name in ("objects", LATEST))
    )


def _in_background(daemon: Daemon, source: Source, place: Path, said: Said) -> int:
    """The child's life; every error goes to the parent while it waits, and to the log afterwards."""
    try:
        trio.run(_run, source, place, said, daemon)
    except BaseException as error:  # noqa: BLE001  the end of this process
        cause = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        # What the parent shows is not logged too: until the mount stands the log goes to the same terminal.
        if isinstance(cause, GtfsError):
            if not daemon.fail(str(cause), cause.exit_code):
                log.error("%s", cause)
            return cause.exit_code
        if isinstance(cause, OSError):
            if not daemon.fail(os_error_text(cause), Blame.SYSTEM.exit_code):
                log.error("%s", cause)
            return Blame.SYSTEM.exit_code
        if isinstance(cause, KeyboardInterrupt):
            return Blame.INTERRUPT.exit_code
        text = "".join(traceback.format_exception(cause))
        print(text, file=sys.stderr)
        daemon.fail(f"a bug in gtfs: {type(cause).__name__}: {cause}", Blame.OTHER.exit_code)
        return Blame.OTHER.exit_code
    return 0


async def _run(source: Source, place: Path, said: Said, daemon: Daemon | None) -> None:
    options = replace(said.node, may_be_read_only=said.mount.read_only)
    early = [number for number in end_signals() if number is not signal.SIGINT]  # that is trio's own
    may_end = ends_with_terminal()
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:  # from here on, or one would end us at once
        overview = ServedOverview(said.overview)
        async with ended_by(*early), open_source(source, may_ask(said.trust), options, answers=True) as node:
            if node.state.read_only:
                complain(
                    f"{node.state.repository.state_directory} is read-only: what is here can be read, and nothing else"
                )
            await _serve(node, source, place, said, daemon, hangups, may_end, overview)


def _log_of(node: Node, said: Said) -> Path | None:
    """Of a mount in the background: the file that was named, else the repository's own."""
    return said.command.logfile or (None if node.state.read_only else node.state.layout.log)


def _let_go(daemon: Daemon, logfile: Path | None, *, own: bool) -> Path | None:
    """Into the background, with the log that there is: a full disk is no reason not to mount. Raises OSError."""
    try:
        daemon.let_go(logfile)
    except OSError:
        if not own:
            raise
        daemon.let_go(None)
        return None
    return logfile


async def _serve(
    node: Node,
    source: Source,
    place: Path,
    said: Said,
    daemon: Daemon | None,
    hangups: AsyncIterator[int],
    may_end: bool,
    overview: ServedOverview,
) -> None:
    """From an open node to the end of its mount."""
    async with trio.open_nursery() as nursery:
        await _take_up(node)
        mounted_tree = Mount(node.packs, node.written, node.control_files, said.mount)
        nursery.start_soon(mounted_tree.watch_news_task, node.news.tree)
        await nursery.start(node.run_task)
        nursery.start_soon(watch_inbox_task, node.state, node.options)
        logfile = None if daemon is None else _log_of(node, said)

        async def look() -> list[RepositoryHealth]:
            return [await judge_node(node, said.thresholds)]

        nursery.start_soon(overview.run_task, look, node.session)

        def mounted() -> None:
            node.state.lock.sign()  # before anybody is told, who may look for the process there
            log_now = logfile if daemon is None else _let_go(daemon, logfile, own=said.command.logfile is None)
            open_log(log_now, 1, 2, own=said.command.logfile is None)
            events.info("%s is mounted on %s", source.text, place)
            # Whoever waits for the mount may look into its log next.
            if manager:
                tell_manager(manager, f"READY=1\nSTATUS={source.text} on {place}\n")
            if daemon is not None:
                daemon.ready()

        manager = os.environ.get("NOTIFY_SOCKET")
        nursery.start_soon(partial(reread_task, hangups, [node], logfile, (1, 2), may_end=may_end))
        await serve(mounted_tree, place, said.mount, source=source.text, on_mounted=mounted, end_signals=ENDS)
        events.info("%s is unmounted%s", place, node.written.left_text())
        if manager:
            tell_manager(manager, "STOPPING=1\n")
        nursery.cancel_scope.cancel()


async def _take_up(node: Node) -> None:
    with bar("encoding") as show:
        await node.take_up(lambda step: show(step.packs, step.packs_of, size_text(step.size)))
