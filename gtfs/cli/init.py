# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.ids import parse_object_id
from gtfs.node.acceptedfaults import accept_faults as accept_more
from gtfs.node.acceptedfaults import read_skip_list
from gtfs.node.publish import initialise
from gtfs.node.state import State
from gtfs.repo.repository import open_repository
from gtfs.trust.policy import parse_policy


@click.command()
@click.argument("repo", type=click.Path(path_type=Path))
@click.option("--name", help="The repository's id in its catalogues, for good (default: its first root commit).")
@click.option(
    "--sign-key", metavar="FPR", help="Full fingerprint of the OpenPGP key that signs catalogues; needed once."
)
@click.option("--gnupg-home", type=click.Path(path_type=Path), help="Where gpg has that key (default: gpg's own).")
@click.option("--tracker", multiple=True, metavar="URL", help="A tracker to name in catalogues; may be given again.")
@click.option("--web-seed", multiple=True, metavar="URL", help="Where a web server has gtfs/reels; may be given again.")
@click.option(
    "--policy", multiple=True, metavar="LINE", help="PATTERN KIND [...], see gtfs-catalogue(5); may be given again."
)
@click.option("--valid-days", type=click.IntRange(1, 3650), help="How long a catalogue counts (default 30).")
@click.option(
    "--accept-fault",
    multiple=True,
    metavar="OID",
    help="An object that mirrors take in spite of its faults; may be given again.",
)
@click.option(
    "--accept-faults",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A file of such objects, as git's fsck.skipList; may be given again.",
)
def init(
    repo: Path,
    name: str | None,
    sign_key: str | None,
    gnupg_home: Path | None,
    tracker: tuple[str, ...],
    web_seed: tuple[str, ...],
    policy: tuple[str, ...],
    valid_days: int | None,
    accept_fault: tuple[str, ...],
    accept_faults: tuple[Path, ...],
) -> None:
    """Make the bare repository REPO ready to publish, with the signing key tried once."""
    lines = [parse_policy(line).to_line() for line in policy]
    faulty = [parse_object_id(oid) for oid in accept_fault]
    for file in accept_faults:
        faulty += read_skip_list(file)
    with State(open_repository(repo)) as state:
        home = str(gnupg_home.absolute()) if gnupg_home else None
        key = sign_key or state.config.sign_key()
        if key is None:
            raise click.UsageError(f"{repo} is no publisher's yet: give --sign-key FPR")
        repository_id = initialise(state, name, key, home)
        if faulty:
            accept_more(state.repository, faulty)
        if tracker:
            state.config.set("tracker", *tracker)
        if web_seed:
            state.config.set("webseed", *web_seed)
        if lines:
            state.config.set("policy", *lines)
        if valid_days:
            state.config.set("validdays", str(valid_days))
    click.echo(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")
