# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a repository a publisher's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, takes_dry_run, takes_json

_PUBLISH = "When to publish without being told: any published ref moved, a tag was made, never (the default)."


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--name", help="The repository's id in its catalogues, for good (default: its first root commit).")
@click.option(
    "--sign-key", metavar="FPR", help="Full fingerprint of the OpenPGP key that signs catalogues; needed once."
)
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="FPR",
    help="A key that may sign catalogues, where several may: name all of them, the publisher's too; may be repeated.",
)
@click.option("--threshold", type=click.IntRange(1), metavar="K", help="How many of them must (default 1).")
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
    "--push-url", metavar="URL", help='Where mirrors say that pushes are welcome, for catalogues to name; "" ends that.'
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
@click.option("--publish", type=click.Choice(["auto", "tags", "manual"]), help=_PUBLISH)
@click.option(
    "--publish-quiet", metavar="SECONDS", help="What moves in a burst waits until nothing did for so long (2)."
)
@click.option("--publish-most", metavar="SECONDS", help="But never longer than this after the first move (10).")
@click.option(
    "--announce",
    type=Place(path_type=Path),
    metavar="REPO",
    help="Put a signed mail for each new annotated tag into another repository, or an inbox of public-inbox.",
)
@click.option("--no-announce", is_flag=True, help="Announce nothing any more.")
@click.option("--announce-mail", metavar="ADDRESS", help="Mail announcements to this address, too.")
@click.option(
    "--sendmail", type=Place(path_type=Path), metavar="PROGRAM", help="What mails them (default /usr/sbin/sendmail)."
)
@click.option(
    "--feed-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help='Keep a directory for a web server complete at each publish; "" ends that.',
)
@click.option(
    "--collection",
    is_flag=True,
    help="REPO is a directory of repositories: gtfs seed publishes all that are there or will be, and a list of them.",
)
@click.option("--url", help="With --collection: what a web server shows REPO as (default: feeds are files).")
@click.option("--hook", is_flag=True, help="Make a post-receive hook that publishes where no node runs.")
@click.option("--no-hook", is_flag=True, help="Take that hook away; what it was chained to comes back.")
@click.option(
    "--signing-subkey", is_flag=True, help="Make a subkey without a passphrase, in a home of its own, that signs."
)
@click.option("--seed", is_flag=True, help="Have the daemon (gtfs seed) seed it from now on; systemd starts one.")
@takes_dry_run
@takes_json
def init(
    repo: Path,
    attest: bool,
    collection: bool,
    url: str | None,
    hook: bool,
    no_hook: bool,
    signing_subkey: bool,
    seed: bool,
    announce: Path | None,
    no_announce: bool,
    sendmail: Path | None,
    feed_dir: Path | None,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make the repository REPO ready to publish, with the signing key tried once; or change its settings.

    With --collection, that is done to each repository below REPO, and a daemon (gtfs seed) goes on doing it.
    With --attest, a mirror attests what it verifies instead, by the key that is given or by its own.
    A running node of REPO takes the new settings at once.
    """
    if hook and no_hook:
        raise click.UsageError("--hook and --no-hook contradict each other")
    if no_announce and (announce or sendmail or given["announce_mail"]):
        raise click.UsageError("beside --no-announce nothing of announcements can be set")
    given["announce"] = "" if no_announce else None if announce is None else str(announce.absolute())
    given["feed_dir"] = None if feed_dir is None else "" if feed_dir == Path() else str(feed_dir.absolute())
    given["sendmail"] = None if sendmail is None else str(sendmail.absolute())
    if attest:
        allowed = {"sign_key", "gnupg_home", "valid_days"}
        others = (collection, url, hook, no_hook, signing_subkey, seed, no_announce, dry_run)
        if any(others) or any(given[name] for name in given.keys() - allowed):
            raise click.UsageError("beside --attest there may be --sign-key, --gnupg-home, --valid-days and --json")
        from gtfs.cli.work.init import run_attester

        run_attester(repo, **{name: given[name] for name in allowed}, as_json=as_json)
        return
    if collection:
        if any((hook, no_hook, signing_subkey, seed, announce, no_announce, sendmail, given["announce_mail"])):
            raise click.UsageError("beside --collection there is no --hook, --signing-subkey, --seed or --announce")
        if given["accepted_faults"] or given["accepted_fault_files"]:
            raise click.UsageError("--accept-fault is for one repository")
        from gtfs.cli.work.initcollection import run_collection

        run_collection(repo, given, url, dry_run=dry_run, as_json=as_json)
        return
    if url is not None:
        raise click.UsageError("--url is for --collection")
    if dry_run:
        from gtfs.cli.work.init import run_dry

        run_dry(repo, given, has_hook=hook, as_json=as_json)
        return
    with loading():
        from gtfs.cli.work.init import run

    run(
        repo,
        given,
        as_json=as_json,
        has_hook=True if hook else False if no_hook else None,
        signing_subkey=signing_subkey,
        is_seeded=seed,
    )
