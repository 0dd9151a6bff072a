# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs offer``: put signed commits where the publisher of a repository finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import place_at
from gtfs.cli.shape import Command, Place, takes_json
from gtfs.cli.terminal import say, say_json


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("revision", default="HEAD", required=False)
@click.option("--to", metavar="NAME", help="The branch it is for (default: its own name, else the publisher's HEAD).")
@click.option("--from", "source", type=Place(path_type=Path), metavar="PATH", help="Where REVISION is (default: REPO).")
@click.option("--sign-key", metavar="FPR", help="Full fingerprint of the key in whose name it is; needed once.")
@click.option("--gnupg-home", type=Place(path_type=Path), help="Where gpg has that key (default: gpg's own).")
@click.option("--list", "is_list", is_flag=True, help="Show what is offered, and whether it was taken.")
@click.option("--withdraw", metavar="NAME", help="Take the offer of this name back.")
@takes_json
def offer(
    repo: Path,
    revision: str,
    to: str | None,
    source: Path | None,
    sign_key: str | None,
    gnupg_home: Path | None,
    is_list: bool,
    withdraw: str | None,
    as_json: bool,
) -> int:
    """Offer the signed commits up to REVISION to the publisher of what REPO follows.

    REPO is a mirror, or a clone that git made of a feed. What is offered lies beside it, under a catalogue of your own,
    which is seeded like any: the publisher finds it by your key, with gtfs inbox, and logs in nowhere.
    """
    if is_list and withdraw is not None:
        raise click.UsageError("--list and --withdraw contradict each other")
    from gtfs.cli.work.offer import run, run_list, run_withdraw

    place = place_at(repo)
    if is_list:
        found = run_list(place)
    elif withdraw is not None:
        found = run_withdraw(place, withdraw)
    else:
        found = run(place, revision, to, source, sign_key, gnupg_home)
    if as_json:
        say_json(found)
    else:
        _show(found)
    return 0


def _show(found: dict[str, Any]) -> None:
    if not found["offers"]:
        say(f"nothing is offered for {found['repository']}")
    for item in found["offers"]:
        count = f"{item['commits']} commit{'' if item['commits'] == 1 else 's'}"
        say(f"{item['stage']:<11} {item['ref']} {item['tip'][:12]}" + (f", {count}" if item["commits"] else ""))
    if found["version"] is not None:
        how = "a node seeds it" if found["seeded"] else f"found while it is seeded: gtfs seed {found['fork']}"
        say(f"version {found['version']} of {found['source']}; {how}")
