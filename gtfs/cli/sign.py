# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs sign``: add one's signature to a proposed catalogue, where the key is."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, takes_dry_run, takes_json


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", metavar="FPR", help="The key that signs (default: the one of the signers' that is here).")
@click.option("--gnupg-home", type=click.Path(path_type=Path), help="Where gpg has that key (default: gpg's own).")
@click.option("--yes", is_flag=True, help="Do not ask: what is signed was looked at.")
@takes_dry_run
@takes_json
def sign(file: Path, key: str | None, gnupg_home: Path | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Show what the catalogue proposed in FILE says, ask, and sign it into FILE.KEYID.asc.

    FILE is what gtfs publish --propose wrote; with FILE.before beside it, what changes is shown. It needs gpg, and
    neither a repository nor the network.
    """
    from gtfs.cli.work.sign import run

    run(file, key, gnupg_home, yes, dry_run=dry_run, as_json=as_json)
