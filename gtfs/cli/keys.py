# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs keys``: the key of a publisher's ``gtfs:`` address."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.ask import place_at
from gtfs.cli.shape import Command, Place, takes_json
from gtfs.cli.terminal import say_json


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--sign-off", is_flag=True, help="Print the OpenPGP key of this node's own sign-offs instead.")
@takes_json
def keys(repo: Path, sign_off: bool, as_json: bool) -> None:
    """Print the gtfs: address of the publisher REPO; the first time, make its key.

    The address leads to the newest catalogue by way of the DHT, once the next gtfs publish has named the key in the
    catalogue and while a node of REPO runs. The key decides where mirrors look, never what they believe.
    """
    from gtfs.repo.repository import open_repository

    if sign_off:
        from gtfs.cli.work.keys import sign_off_key

        key = sign_off_key(open_repository(place_at(repo)))
        say_json({"key": key}) if as_json else click.echo(key, nl=False)
        return
    from gtfs.node.dhtfeed import make_address

    address = make_address(open_repository(place_at(repo)))
    say_json({"address": address}) if as_json else click.echo(address)
