# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, Place


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--name", help="The repository's id in its catalogues, for good (default: its first root commit).")
@click.option(
    "--sign-key", metavar="FPR", help="Full fingerprint of the OpenPGP key that signs catalogues; needed once."
)
@click.option(
    "--freshness-key",
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
@click.option("--tracker", multiple=True, metavar="URL", help="A tracker to name in catalogues; may be given again.")
@click.option("--web-seed", multiple=True, metavar="URL", help="Where a web server has gtfs/reels; may be given again.")
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
    multiple=True,
    metavar="OID",
    help="An object that mirrors take in spite of its faults; may be given again.",
)
@click.option(
    "--accept-faults",
    multiple=True,
    type=Place(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A file of such objects, as git's fsck.skipList; may be given again.",
)
def init(
    repo: Path,
    name: str | None,
    sign_key: str | None,
    gnupg_home: Path | None,
    attest: bool,
    tracker: tuple[str, ...],
    web_seed: tuple[str, ...],
    freshness_key: tuple[str, ...],
    policy: tuple[str, ...],
    valid_days: int | None,
    refs: tuple[str, ...],
    hide: tuple[str, ...],
    limits: tuple[str, ...],
    accept_fault: tuple[str, ...],
    accept_faults: tuple[Path, ...],
) -> None:
    """Make the bare repository REPO ready to publish, with the signing key tried once.

    With --attest, a mirror attests what it verifies instead, by the key that is given or by its own.
    """
    if attest:
        others = (name, *tracker, *web_seed, *policy, *refs, *hide, *limits, *accept_fault, *accept_faults)
        if any(other is not None for other in others):
            raise click.UsageError("beside --attest there may be --sign-key, --gnupg-home and --valid-days")
        from gtfs.cli.work.init import run_attester

        run_attester(repo, sign_key, gnupg_home, valid_days)
        return
    from gtfs.cli.work.init import run

    run(
        repo,
        name,
        sign_key,
        gnupg_home,
        tracker,
        web_seed,
        freshness_key,
        policy,
        valid_days,
        refs,
        hide,
        limits,
        accept_fault,
        accept_faults,
    )
