# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mirror``: make a mirror, or those of a collection, and have the daemon follow and seed it from now on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.loading import loading
from gtfs.cli.seed import takes_config
from gtfs.cli.shape import Command, Place, takes_dry_run, takes_json, takes_options
from gtfs.cli.sync import fetching, show_synced
from gtfs.cli.terminal import INTERRUPTED, complain, say, say_json


@click.command(cls=Command)
@click.argument("source", type=Place())
@click.argument("directory", required=False, type=Place(path_type=Path), metavar="[DIR]")
@click.option("--name", help="What the daemon calls it (default: from DIR; of a collection, its own id).")
@click.option(
    "--keyring", "keyrings", multiple=True, type=Place(path_type=Path), metavar="FILE",
    help="Keys of the publisher, and of who signs commits; may be given again.",
)  # fmt: skip
@click.option(
    "--signer", "signers", multiple=True, metavar="FPR", help="Who may sign the first catalogue; may be given again."
)
@click.option(
    "--push-url", metavar="URL", help='Where pushes to the mirror are told to go; "" is what its catalogue says.'
)
@click.option(
    "--worktree", "worktrees", multiple=True, metavar="PATH[@REF]",
    help="Keep at PATH the files of REF (default: HEAD), after each move; may be given again.",
)  # fmt: skip
@takes_config
@click.option("--no-enable", is_flag=True, help="Have systemd start no daemon.")
@takes_options
@takes_dry_run
@takes_json
def mirror(source: str, directory: Path | None, dry_run: bool, as_json: bool, **given: Any) -> int:
    """Mirror SOURCE in DIR from now on: fetch it all, and have the daemon (gtfs seed) follow and seed it.

    SOURCE is the catalogue of a publisher, or the signed list of a collection: then its mirrors are made below DIR.
    Where no daemon runs, systemd is told to run it. A second call changes nothing but what it is told anew.
    """
    with loading():
        from gtfs.cli.work.mirror import run, run_dry

    if dry_run:
        found = run_dry(source, directory, given)
        if as_json:
            say_json(found)
        else:
            _show_foreseen(found)
        return 0
    try:
        with fetching() as (tell, wait):
            done = run(source, directory, given, tell, wait)
    except KeyboardInterrupt:
        complain("interrupted; what came is kept, and the same gtfs mirror goes on from there")
        return INTERRUPTED
    if as_json:
        say_json(done)
        return 0
    _show(done)
    return 0 if done["sync"] is None else show_synced(done["sync"], as_json=False)


def _show_foreseen(found: dict[str, Any]) -> None:
    if found["text"]:
        click.echo(found["text"], nl=False)
    what = f"this would be written to {found['file']}" if found["text"] else "nothing of the configuration would change"
    say(f"{found['directory']} would mirror {found['source']}; {what}")
    say(found["next"] or "the daemon would be told")


def _show(done: dict[str, Any]) -> None:
    what = "the collection" if done["kind"] == "collection" else ""
    if done["new"]:
        say(
            " ".join(
                filter(None, [done["directory"], "mirrors", what, f"{done['source']} from now on: {done['file']}"])
            )
        )
    else:
        changed = f"changed: {', '.join(done['changed'])}" if done["changed"] else "nothing changed"
        say(" ".join(filter(None, [done["directory"], "mirrors", what, f"{done['source']} already; {changed}"])))
    if done["repositories"] is not None:
        say(f"its {done['repositories']} repositories are mirrored by and by; gtfs seed list shows how far")
    if done["next"]:
        say(done["next"])
