# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.node.publish import initialise, refuse_subkeys
from gtfs.node.state import State
from gtfs.repo.repository import open_repository
from gtfs.trust.policy import parse_policy


@click.command()
@click.argument("repo", type=click.Path(path_type=Path))
@click.option("--name", help="The repository's id in its catalogues, for good (default: its first root commit).")
@click.option(
    "--sign-key", required=True, metavar="FPR", help="Full fingerprint of the OpenPGP key that signs catalogues."
)
@click.option("--gnupg-home", type=click.Path(path_type=Path), help="Where gpg has that key (default: gpg's own).")
@click.option("--tracker", multiple=True, metavar="URL", help="A tracker to name in catalogues; may be given again.")
@click.option("--web-seed", multiple=True, metavar="URL", help="Where a web server has gtfs/reels; may be given again.")
@click.option(
    "--policy", multiple=True, metavar="LINE", help="PATTERN KIND [...], see gtfs-catalogue(5); may be given again."
)
@click.option("--valid-days", type=click.IntRange(1, 3650), help="How long a catalogue counts (default 30).")
def init(
    repo: Path,
    name: str | None,
    sign_key: str,
    gnupg_home: Path | None,
    tracker: tuple[str, ...],
    web_seed: tuple[str, ...],
    policy: tuple[str, ...],
    valid_days: int | None,
) -> None:
    """Make the bare repository REPO ready to publish, with the signing key tried once."""
    policies = [parse_policy(line) for line in policy]
    with State(open_repository(repo)) as state:
        refuse_subkeys(state, policies, gnupg_home)
        home = str(gnupg_home.absolute()) if gnupg_home else None
        repository_id = initialise(state, name, sign_key, home)
        if tracker:
            state.config.set("tracker", *tracker)
        if web_seed:
            state.config.set("webseed", *web_seed)
        if policies:
            state.config.set("policy", *(policy.to_line() for policy in policies))
        if valid_days:
            state.config.set("validdays", str(valid_days))
    click.echo(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")
