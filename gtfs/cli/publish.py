# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish``: encode, seal and sign what the refs say now; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.running import repository_of_mount
from gtfs.cli.terminal import INTERRUPTED, bar, note_faults, size_text, stop_on_interrupt
from gtfs.node.control import ask_node
from gtfs.node.describe import describe_published
from gtfs.node.publish import Unpublishable, publish_now
from gtfs.node.state import State
from gtfs.repo.repository import open_repository


@click.command()
@click.argument("repo", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Sign a new catalogue though nothing has changed.")
@click.option("--jobs", type=click.IntRange(1), help="Processes that encode (default: one for each core).")
def publish(repo: Path, force: bool, jobs: int | None) -> int:
    """Publish what the refs of REPO say now, and print its version and the SOURCE strings that others can use.

    A node that is mounted does it itself, and seeds the new reels at once.
    """
    repository = open_repository(repository_of_mount(repo) or repo)
    with bar("encoding") as show:
        done = ask_node(
            repository.state,
            {"do": "publish", "force": force, "jobs": jobs},
            lambda p: show(p["packs"], p["of"], size_text(p["bytes"])),
        )
        if done is None:
            with State(repository) as state, stop_on_interrupt() as stop:
                total = [0]

                def begin(count: int) -> None:
                    total[0] = count

                try:
                    result = publish_now(
                        state, force=force, jobs=jobs, stop=stop, begin=begin,
                        progress=lambda n, size: show(n, total[0], size_text(size)),
                    )  # fmt: skip
                except Unpublishable:
                    if stop():
                        return INTERRUPTED
                    raise
                done = describe_published(state, result)
    _show(done)
    return 0


def _show(done: dict[str, Any]) -> None:
    total = sum(reel["size"] for reel in done["reels"])
    new = "" if done["new"] else " (nothing had changed)"
    reels = len(done["reels"])
    click.echo(f"version {done['version']}{new}: {done['packs']} commit packs in {reels} reels, {size_text(total)}")
    for reel in done["reels"]:
        click.echo(f"reel {reel['name']} infohash {reel['infohash']} {reel['size']} bytes {reel['packs']} packs")
    note_faults(done["faults"])
    for source in done["sources"]:
        click.echo(f"source {source}")
