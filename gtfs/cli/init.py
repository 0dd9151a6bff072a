# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.mount.options import parse_size
from gtfs.node.publish import initialise
from gtfs.node.selection import parse_pattern
from gtfs.node.state import State
from gtfs.pack.limits import LIMITS, key_of
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
    "--refs",
    multiple=True,
    metavar="PATTERN",
    help="Publish these refs (default: heads, tags and notes); may be repeated.",
)
@click.option("--hide", multiple=True, metavar="PATTERN", help="Publish none of these refs; may be given again.")
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=SIZE", help="A limit, see gtfs-pack(5); may be given again."
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
    refs: tuple[str, ...],
    hide: tuple[str, ...],
    limits: tuple[str, ...],
) -> None:
    """Make the bare repository REPO ready to publish, with the signing key tried once."""
    lines = [parse_policy(line).to_line() for line in policy]
    for pattern in (*refs, *hide):
        parse_pattern(pattern)
    wanted_limits = dict(_parse_limit(text) for text in limits)
    with State(open_repository(repo)) as state:
        home = str(gnupg_home.absolute()) if gnupg_home else None
        key = sign_key or state.config.sign_key()
        if key is None:
            raise click.UsageError(f"{repo} is no publisher's yet: give --sign-key FPR")
        repository_id = initialise(state, name, key, home)
        if tracker:
            state.config.set("tracker", *tracker)
        if web_seed:
            state.config.set("webseed", *web_seed)
        if lines:
            state.config.set("policy", *lines)
        if valid_days:
            state.config.set("validdays", str(valid_days))
        if refs:
            state.config.set("refs", *refs)
        if hide:
            state.config.set("hide", *hide)
        for limit, size in wanted_limits.items():
            state.config.set(key_of(limit), size)
    click.echo(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")


def _parse_limit(text: str) -> tuple[str, str]:
    name, _, size = text.partition("=")
    if name not in LIMITS:
        raise click.UsageError(f"--limit {text}: there is no limit of that name, but {', '.join(LIMITS)}")
    return name, str(parse_size(size, f"--limit {name}"))
