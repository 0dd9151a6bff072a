# SPDX-License-Identifier: GPL-3.0-or-later
"""One conversation with git, and its end: a refusal is said as git says it, ``fatal: ...``. Main thread."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from traceback import print_exception
from typing import TYPE_CHECKING, Final

from gtfs.cli.loading import loading
from gtfs.cli.main import INTERRUPTED
from gtfs.cli.terminal import is_memory_short, os_error_text, print_any_name
from gtfs.errors import Blame, GtfsError
from gtfs.feed import HttpFeed
from gtfs.remote.address import BadAddress, LocalRepository, find
from gtfs.remote.local import SERVICES, take_over
from gtfs.remote.protocol import BadCommand, Conversation, Options
from gtfs.remote.settings import read_settings

if TYPE_CHECKING:
    from gtfs.remote.following import Following

FATAL: Final = 128  # what git itself ends with


class BadUse(GtfsError):
    """Not what git runs a helper with."""

    fault = Blame.USAGE


def run(argv: Sequence[str]) -> int:
    """The exit code."""
    print_any_name()
    logging.basicConfig(format="gtfs: %(message)s", level=logging.ERROR, force=True)
    try:
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            _serve(argv, Conversation(stdin, sys.stdout.buffer))
    except BaseException as error:  # noqa: BLE001  every end passes here
        return _explain(error)
    return 0


def _serve(argv: Sequence[str], git: Conversation) -> None:
    if len(argv) not in (2, 3):
        raise BadUse("git runs this program: git clone gtfs::SOURCE, see git-remote-gtfs(1)")
    address = argv[-1]
    place = find(address)
    settings = read_settings(argv[1])
    if isinstance(place, LocalRepository):
        if settings.own_trust is not None:
            raise BadAddress(
                f"{settings.own_trust} asks for a catalogue to be judged, and {place.path} is a repository, whose "
                f"owner vouches for it: give its catalogue, gtfs::{place.git_directory}/gtfs/catalogue"
            )
        _serve_local(place, git)
        return
    with loading():  # what it imports takes longer to load than git to clone from a path
        from gtfs.remote.following import Following
        from gtfs.swarm.httpget import load_library

        if isinstance(place, HttpFeed):
            load_library()
    options = Options()
    following = Following(place, settings, options)
    try:
        _serve_feed(following, options, git)
    except BaseException:
        following.give_up()
        raise


def _serve_feed(following: Following, options: Options, git: Conversation) -> None:
    for line in git.commands():
        word, _, rest = line.partition(b" ")
        if word == b"capabilities":
            git.say([b"fetch", b"push", b"option", b"object-format"])
        elif word == b"option":
            name, _, value = rest.decode("utf-8", "replace").partition(" ")
            git.say([options.set(name, value).encode()], ends=False)
        elif word == b"list":
            git.say(following.list(for_push=rest == b"for-push").lines(with_format=options.object_format))
        elif word == b"fetch":
            following.fetch(git.wants(line))
            git.say()
        else:
            raise BadCommand(line)
    try:
        following.end()
    except (GtfsError, OSError) as e:  # git has what it wanted
        print(f"warning: what the fetch has left is not tidied up: {e}", file=sys.stderr, flush=True)


def _serve_local(place: LocalRepository, git: Conversation) -> None:
    for line in git.commands():
        word, _, service = line.decode("utf-8", "replace").partition(" ")
        if word == "capabilities":
            git.say([b"connect"])
        elif word == "connect" and service in SERVICES:
            git.say()
            take_over(place, service)
        else:
            raise BadCommand(line)


def _explain(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):  # git has gone
        sys.stderr.close()
        return FATAL
    if isinstance(error, GtfsError):
        print(f"fatal: {error}", file=sys.stderr, flush=True)
    elif isinstance(error, OSError) and error.errno is not None:
        print(f"fatal: {os_error_text(error).partition(';')[0]}", file=sys.stderr, flush=True)
    elif is_memory_short(error):
        print("fatal: there is not enough memory, or a limit (ulimit -v, -u) allows too little", file=sys.stderr)
    else:
        print_exception(error)
        print("fatal: this is a bug in gtfs; please report it with the lines above", file=sys.stderr)
    return FATAL
