# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.shape import Command, Place

_OF_ATTESTERS = {"sign_key", "gnupg_home", "valid_days"}


# Each option has the name of a field of `gtfs.state.initialise.Wanted`, whose defaults are what is not given.
@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--name", help="The repository's id in its catalogues, for good (default: its first root commit).")
@click.option(
    "--sign-key", metavar="FPR", help="Full fingerprint of the OpenPGP key that signs catalogues; needed once."
)
@click.option(
    "--freshness-key",
    "freshness_keys",
    multiple=True,
    metavar="FPR",
    help="A key that may say that a catalogue is still the newest (gtfs refresh), and nothing else; may be repeated.",
)
@click.option(
    "--gnupg-home",
    type=Place(path_type=Path),
    help="Where gpg has that key (default: gpg's own).",
)
@click.option("--attest", is_flag=True, help="Let the mirror REPO sign off, for others, what it verifies.")
@click.option(
    "--tracker", "trackers", multiple=True, metavar="URL", help="A tracker to name in catalogues; may be given again."
)
@click.option(
    "--web-seed",
    "web_seeds",
    multiple=True,
    metavar="URL",
    help="Where a web server has gtfs/reels; may be given again.",
)
@click.option(
    "--policy", multiple=True, metavar="LINE", help="PATTERN KIND [...], see gtfs-catalogue(5); may be given again."
)
@click.option("--valid-days", type=click.IntRange(1), help="How long a catalogue counts (default 30).")
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
@click.option(
    "--accept-fault",
    "accepted_faults",
    multiple=True,
    metavar="OID",
    help="An object that mirrors take in spite of its faults; may be given again.",
)
@click.option(
    "--accept-faults",
    "accepted_fault_files",
    multiple=True,
    type=Place(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A file of such objects, as git's fsck.skipList; may be given again.",
)
def init(repo: Path, attest: bool, **wanted: Any) -> None:
    """Make the bare repository REPO ready to publish, with the signing key tried once.

    With --attest, a mirror attests what it verifies instead, by the key that is given or by its own.
    """
    if not attest:
        from gtfs.cli.work.init import run

        run(repo, wanted)
        return
    given = {name: value for name, value in wanted.items() if value not in (None, ())}
    if given.keys() - _OF_ATTESTERS:
        raise click.UsageError("beside --attest there may be --sign-key, --gnupg-home and --valid-days")
    from gtfs.cli.work.init import run_attester

    run_attester(repo, given)
