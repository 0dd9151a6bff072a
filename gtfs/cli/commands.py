# SPDX-License-Identifier: GPL-3.0-or-later
"""The program ``gtfs``: picks the command, turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import print_exception

import click

from gtfs.cli.shape import CommandsByName, Group
from gtfs.cli.terminal import INTERRUPTED, complain, is_memory_short, os_error_text, print_any_name, start_log
from gtfs.errors import Blame, GtfsError
from gtfs.version import version

log = logging.getLogger(__name__)


def say_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"gtfs, version {version()}")
        context.exit()


_COMMANDS = (
    "init", "keys", "publish", "sign", "refresh", "rewind", "mount", "umount", "sync", "seed", "mirror", "collection",
    "offer", "inbox", "status", "verify", "trust", "torrent", "fsck", "pack",
)  # fmt: skip


@click.group(
    cls=Group,
    commands=CommandsByName(_COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=say_version,
    help="Show the version and exit.",
)
@click.option("-v", "--verbose", count=True, help="Say what happens on stderr; -vv says everything.")
def cli(verbose: int) -> None:
    """The git torrent filesystem: signed git history as files, carried by BitTorrent.

    A SOURCE is a bare repository, a catalogue file, or a file:, http: or https: URL of one,
    or a gtfs: address in the DHT.
    Each command explains itself: gtfs COMMAND --help.
    """
    start_log(verbose)


def run(argv: Sequence[str]) -> int:
    """One command's exit code; says on stderr what went wrong."""
    is_helper = Path(argv[0]).name == "mount.fuse.gtfs"  # for mount(8), which says SOURCE DIR -o OPTIONS
    print_any_name()
    try:
        result = cli.main(["mount"] * is_helper + list(argv[1:]), prog_name="gtfs", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  every end of a command passes here
        return explain(error)
    return result if isinstance(result, int) else 0


def explain(error: BaseException) -> int:
    """Show an error and give its exit code; a bug comes with its traceback."""
    if isinstance(error, BaseExceptionGroup):
        from gtfs.node.nursery import first_error  # trio, which has made the group, is loaded already

        return explain(first_error(error))
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone, as head(1) does.
        sys.stderr.close()
        return 0
    if isinstance(error, GtfsError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno is not None:
        complain(os_error_text(error))
        log.debug("where it happened", exc_info=error)
        return Blame.SYSTEM.exit_code
    if is_memory_short(error):
        complain("there is not enough memory, or a limit (ulimit -v, ulimit -u, LimitAS=) allows too little of it")
        return Blame.SYSTEM.exit_code
    print_exception(error)
    complain("this is a bug in gtfs; please report it with the lines above")
    return Blame.OTHER.exit_code
