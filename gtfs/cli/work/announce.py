# SPDX-License-Identifier: GPL-3.0-or-later
"""What was published is announced where it was signed: by the GnuPG, the agent and the terminal of whoever typed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gtfs.cli.terminal import complain, os_error_text, say
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.announce import announce


def run_announce(place: Path, tell: Callable[[str], None] = say) -> None:
    """Announce all that is due, and ``tell`` what came of it; nothing here fails the publish."""
    for line, is_well in announce_lines(open_repository(place), asks=True):
        (tell if is_well else complain)(line)


def announce_lines(repository: Repository, *, asks: bool) -> Iterator[tuple[str, bool]]:
    """What was announced and what was not, a line each, and whether it is good news."""
    try:
        done, failed = announce(repository, asks=asks)
    except OSError as error:
        yield f"NOT announced: {os_error_text(error)}", False
        return
    for each in done:
        yield f"announced {each.tag}: commit {each.commit[:12]}" + (", and mailed" if each.is_mailed else ""), True
    if failed is not None:
        yield f"published, but NOT announced: {failed.reason}", False
        yield f"it is tried again by a node, or by: gtfs publish {repository.path}", False
