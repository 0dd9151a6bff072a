# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs inbox``: what others offer for a repository, verified."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import place_at
from gtfs.cli.shape import Command, Place, takes_json, takes_options
from gtfs.cli.terminal import complain, say, say_json
from gtfs.errors import Blame

_SHOWN = 20  # commits of an offer that may have a thousand


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--add", metavar="SOURCE", help="Look there for a fork too, now and from now on.")
@click.option("--remove", metavar="FPR", help="Forget the fork of this key.")
@click.option("--fetch", is_flag=True, help="Bring what is offered into REPO, below refs/gtfs/inbox/.")
@click.option(
    "--merge", "branches", multiple=True, metavar="BRANCH",
    help="Move this branch forward to an offer of its name that stands on it; may be given again.",
)  # fmt: skip
@takes_options
@takes_json
def inbox(
    repo: Path,
    add: str | None,
    remove: str | None,
    fetch: bool,
    branches: tuple[str, ...],
    options: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show the commits that others offer for the repository REPO, verified by its ring and its policy.

    Forks are found in the DHT by the keys of the ring, and where --add said. Nothing is fetched of one whose catalogue
    no key of the ring has signed, and no branch moves but by --merge.
    """
    from gtfs.cli.work.inbox import run, run_remove

    place = place_at(repo)
    if remove is not None:
        key = run_remove(place, remove)
        say_json({"removed": key}) if as_json else say(f"the fork of {key} is forgotten")
        return 0
    found = run(place, options, add, fetch=fetch, branches=branches)
    if as_json:
        say_json(found)
    else:
        _show(found)
    stages = [offer["stage"] for fork in found["forks"] for offer in fork["offers"]]
    if "refused" in stages or found["refused"]:
        return Blame.TRUST.exit_code
    return Blame.NETWORK.exit_code if "missing" in stages else 0


def _show(found: dict[str, Any]) -> None:
    if not any(fork["offers"] for fork in found["forks"]):
        say(f"nobody offers anything for {found['repository']}")
    for fork in found["forks"]:
        whose = f"{fork['key']} {fork['name'] or ''}".rstrip()
        if fork["trouble"]:
            complain(f"{whose}: {fork['trouble']}")
        if fork["offers"]:
            say(f"{whose}, version {fork['version']}")
        for offer in fork["offers"]:
            _show_offer(fork, offer)
    for item in found["refused"]:
        complain(f"{item['feed']}: {item['reason']}")


def _show_offer(fork: dict[str, Any], offer: dict[str, Any]) -> None:
    say(f"  {offer['stage']:<8} {offer['ref']} {offer['tip'][:12]}", indent=11)
    if offer["reason"]:
        say(f"    {offer['reason']}", indent=4)
    for commit in offer["commits"][:_SHOWN]:
        date = _day(commit["date"])
        say(
            f"    {commit['oid'][:12]} {date} {commit['signer'][-16:]} {commit['author']}: {commit['subject']}",
            indent=6,
        )
    if offer["commits"][_SHOWN:]:
        say(f"    and {len(offer['commits']) - _SHOWN} more: --json")
    if offer["merged"]:
        say(f"    merged: {offer['ref']} is at it now")
    elif offer["not_merged"]:
        complain(f"{offer['ref']} of {fork['key']} is not merged: {offer['not_merged']}")
    elif offer["stage"] == "offered":
        say(f"    git fetch {fork['path']} {offer['ref']}" + (f", or {offer['fetched']}" if offer["fetched"] else ""))


def _day(seconds: int | None) -> str:
    try:
        return "no date" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "no date"
