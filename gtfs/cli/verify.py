# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs verify``: why refs, objects and packs are accepted or refused; the running node says it, if there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at, repository_of_mount
from gtfs.cli.shape import Command, Place
from gtfs.cli.terminal import complain, refusal_text, say

_MARKS = {"holds": "ok", "note": "--", "waits": "WAITS", "refused": "REFUSED"}
_ENDS = {"holds": "accepted", "note": "accepted", "waits": "NOT ACCEPTED YET", "refused": "REFUSED"}


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("what", nargs=-1, required=True, metavar="OID|REF|PACK...")
@click.option("--json", "as_json", is_flag=True, help="The tree of reasons as JSON; gtfs(1) describes it.")
def verify(repo: Path, what: tuple[str, ...], as_json: bool) -> int:
    """Say why refs, objects and packs are accepted in REPO, a bare repository or a mounted directory, or are not.

    OID is a whole id, REF a ref's name as git takes it, PACK a file <id>.pack or its name alone. All that decides is
    judged anew, by the catalogue, the policies and the keys of now; nothing is moved.
    """
    place = place_at(repo)
    words = [_word(text, place) for text in what]

    def here() -> dict[str, Any]:
        from gtfs.cli.work.verify import run

        return run(place, words)

    found = by_node_or_here(lambda: ask(place, {"do": "verify", "what": words}), here)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
        return int(found["exit_code"])
    for word, judged, blamed in zip(what, found["judged"], found["blamed"], strict=True):
        _show(judged)
        for reason in blamed:
            complain(f"{word}: {refusal_text(reason['text'], reason)}")
    return int(found["exit_code"])


def _word(text: str, place: Path) -> str:
    """What the node is asked about: of a file where it is, of one on its own mount only the name."""
    path = Path(text)
    if not text.endswith(".pack"):
        if not text or text.startswith("/"):
            raise click.UsageError(f"{text!r} is neither an id nor a ref, and no file called <id>.pack")
        return text
    if not path.is_file():
        if "/" in text:
            raise click.UsageError(f"{text} does not exist, or is no file")
        return text
    mounted = repository_of_mount(path.absolute().parent)
    return path.name if mounted is not None and mounted.resolve() == place.resolve() else str(path.absolute())


def _show(judged: dict[str, Any]) -> None:
    say(f"{judged['subject']}: {_ENDS[judged['verdict']]}")
    for depth, line in _lines(judged["because"], 1, judged["subject"]):
        say("  " * depth + line, indent=2 * depth + 2)


def _lines(reasons: list[dict[str, Any]], depth: int, above: str) -> Iterator[tuple[int, str]]:
    """Each reason below the ones that it is for; what it is about is not said twice."""
    for reason in reasons:
        is_said = reason["subject"] in (above, "") or reason["subject"] in reason["text"]
        parts = [f"{_MARKS[reason['verdict']]} {reason['rule']}" + ("" if is_said else f" {reason['subject']}")]
        if reason["text"]:
            parts.append(f": {reason['text']}")
        if reason["who"]:
            parts.append(f"; by {', '.join(reason['who'])}")
        if reason["when"]:
            day = datetime.fromtimestamp(reason["when"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            parts.append(f" on {day}" if reason["who"] else f"; {day}")
        yield depth, "".join(parts)
        yield from _lines(reason["because"], depth + 1, reason["subject"])
