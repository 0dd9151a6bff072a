# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``gtfs`` and ``mount.fuse.gtfs``: picks the command, turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from traceback import print_exception

import click

from gtfs.cli.fsck import fsck
from gtfs.cli.init import init
from gtfs.cli.keys import keys
from gtfs.cli.mount import mount
from gtfs.cli.pack import pack
from gtfs.cli.publish import publish
from gtfs.cli.seed import seed
from gtfs.cli.status import status
from gtfs.cli.sync import sync
from gtfs.cli.terminal import INTERRUPTED, complain, start_log
from gtfs.cli.torrent import torrent
from gtfs.cli.umount import umount
from gtfs.errors import GtfsError
from gtfs.node.nursery import first_error

log = logging.getLogger(__name__)

EXIT_CODES = """\b
EXIT STATUS
  0    it was done
  1    it failed, or gtfs fsck found something
  2    the command line or a setting is wrong
  3    the SOURCE or the repository cannot be used
  4    refused: a signature, a pack or a catalogue does not hold
  5    the network: no peer, no feed, too late
  6    busy: another process has the repository
  7    the system: disk, permission, FUSE
  130  interrupted
"""


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("gtfs"), "--version", "-V", prog_name="gtfs")
@click.option("-v", "--verbose", count=True, help="Say what happens on stderr; -vv says everything.")
def cli(verbose: int) -> None:
    """The git torrent filesystem: signed git history as files, carried by BitTorrent.

    A SOURCE is a bare repository, a catalogue file, or a file:, http: or https: URL of one,
    or a gtfs: address in the DHT.
    Each command explains itself: gtfs COMMAND --help.
    """
    start_log(verbose)


for _command in (init, keys, publish, mount, umount, sync, seed, status, torrent, fsck, pack):
    _command.epilog = (_command.epilog or "") + EXIT_CODES
    cli.add_command(_command)


def arguments(argv: Sequence[str]) -> list[str]:
    """What was meant: mount(8) runs ``gtfs SOURCE DIR -o OPTIONS`` or ``mount.fuse.gtfs SOURCE DIR -o OPTIONS``."""
    words = list(argv[1:])
    if Path(argv[0]).name == "mount.fuse.gtfs":
        return ["mount", *words]
    if words and not words[0].startswith("-") and words[0] not in cli.commands and len(words) > 1:
        return ["mount", *words]
    return words


def run(argv: Sequence[str]) -> int:
    """One command's exit code; says on stderr what went wrong."""
    try:
        result = cli.main(arguments(argv), prog_name="gtfs", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001  every end of a command passes here
        return explain(error)
    return result if isinstance(result, int) else 0


def explain(error: BaseException) -> int:
    """Show an error and give its exit code; a bug comes with its traceback."""
    if isinstance(error, BaseExceptionGroup):
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
        complain(f"{error.strerror}" + (f": {error.filename}" if error.filename else ""))
        return 7
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        complain("there is not enough memory, or a limit (ulimit -v, ulimit -u, LimitAS=) allows too little of it")
        return 7
    print_exception(error)
    complain("this is a bug in gtfs; please report it with the lines above")
    return 1


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
