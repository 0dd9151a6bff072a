# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs collection``: a publisher's signed list of repositories, and following one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gtfs.cli.loading import loading
from gtfs.cli.shape import Place, Verbs, takes_dry_run, takes_json, takes_options
from gtfs.cli.terminal import complain, say, say_json, show_rewound
from gtfs.counted import counted

_SHOWN = 40  # repositories, of a collection that may have a hundred thousand


@click.group(cls=Verbs, short_help="Publish a signed list of repositories, or follow one.")
def collection() -> None:
    """Publish a signed list of repositories, or have the daemon mirror all of such a list.

    gtfs-collection(5) is the whole story.
    """


def _directory(command: Any) -> Any:
    return click.argument(
        "directory", type=Place(path_type=Path, exists=True, file_okay=False), required=False, default="."
    )(command)


@collection.command()
@click.argument("directory", type=Place(path_type=Path, exists=True, file_okay=False))
@click.option("--name", help="The collection's id, for good; needed once.")
@click.option("--sign-key", metavar="FPR", help="Full fingerprint of the OpenPGP key that signs it; needed once.")
@click.option("--gnupg-home", type=Place(path_type=Path), help="Where gpg has that key (default: gpg's own).")
@click.option(
    "--signer", "signers", multiple=True, metavar="FPR",
    help="A key that the list names as its signer (default: the signing key); may be given again.",
)  # fmt: skip
@click.option("--threshold", type=click.IntRange(1), metavar="K", help="How many of them must (default 1).")
@click.option("--url", help="What a web server shows DIRECTORY as (default: its repositories' feeds are files).")
@click.option(
    "--feed", "feeds", multiple=True, metavar="URL",
    help="Instead of --url: where catalogues are, {} standing for a name; may be given again.",
)  # fmt: skip
@click.option("--include", multiple=True, metavar="GLOB", help="List these alone; may be given again.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="List none of these; may be given again.")
@click.option("--valid-days", type=click.IntRange(1, 3650), help="How long a version counts (default 30).")
@click.option("--out", type=Place(path_type=Path), help="Where the files go (default: DIRECTORY).")
@takes_json
@takes_dry_run
def init(directory: Path, as_json: bool, dry_run: bool, **given: Any) -> int:
    """Make the repositories below DIRECTORY a collection, or change its settings; the key is tried once."""
    if given["url"] and given["feeds"]:
        raise click.UsageError("--url and --feed contradict each other")
    from gtfs.cli.work.collection import run_init

    done = run_init(directory, given, dry_run=dry_run)
    if as_json:
        say_json(done)
    else:
        say(f"{directory} publishes the collection {done['name']}; next: gtfs collection publish {directory}")
    return 0


@collection.command()
@_directory
@click.option("--force", is_flag=True, help="Sign a new version although nothing changed, or many are gone.")
@click.option(
    "--repositories", is_flag=True,
    help="Publish each repository first; one that is nobody's yet becomes a publisher's, with the collection's key.",
)  # fmt: skip
@takes_json
@takes_dry_run
def publish(directory: Path, force: bool, repositories: bool, as_json: bool, dry_run: bool) -> int:
    """List the published repositories below DIRECTORY, sign the list, and write its files.

    Only if something changed, or the version before does not last long any more, it is a new version.
    """
    with loading():
        from gtfs.cli.work.collection import run_publish

    done = run_publish(directory, force=force, repositories=repositories, dry_run=dry_run)
    if as_json:
        say_json(done)
        return 0
    for name, why in list(done["left_out"].items())[:_SHOWN]:
        complain(f"left out: {name}: {why}")
    for name, why in list(done["not_published"].items())[:_SHOWN]:
        complain(f"{name} is listed as it was: {why}")
    for what, names in (("new", done["added"]), ("changed", done["changed"]), ("gone", done["removed"])):
        _show_names(what, names)
    state = "would be published" if dry_run else "published"
    if not done["is_new"]:
        state = "says so already"
    entries = counted(done["entries"], "repository")
    say(f"version {done['version']} of {done['name']} {state}: {entries}, {done['files'][0]}")
    return 0


@collection.command()
@click.argument("source", type=Place())
@click.option("--name", help="What to call it here (default: its own id).")
@click.option(
    "--keyring", "keyrings", multiple=True, type=Place(path_type=Path), metavar="FILE",
    help="The publisher's key, and those of its repositories; may be given again.",
)  # fmt: skip
@click.option("--signer", "signers", multiple=True, metavar="FPR", help="Who may sign the list; may be given again.")
@click.option("--manifest", is_flag=True, help="SOURCE is a manifest.js.gz for grokmirror, which nobody has signed.")
@click.option("--feed", metavar="URL", help="For a manifest: where catalogues are, {} standing for a name.")
@click.option("--include", multiple=True, metavar="GLOB", help="Mirror these alone; may be given again.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Mirror none of these; may be given again.")
@click.option("--directory", type=Place(path_type=Path), help="Where its mirrors are made.")
@click.option("--gone", type=click.Choice(["keep", "move", "delete"]), help="What becomes of mirrors that left it.")
@click.option("--config", type=Place(path_type=Path), help="The gtfs.conf beside whose drop-ins this goes.")
@takes_options
@takes_json
@takes_dry_run
def follow(source: str, as_json: bool, dry_run: bool, **given: Any) -> int:
    """Have the daemon (gtfs seed) mirror every repository of the list that SOURCE is a file or URL of.

    The list is fetched and judged now; then a drop-in of gtfs.conf(5) is written.
    """
    if given["feed"] and not given["manifest"]:
        raise click.UsageError("--feed is for --manifest")
    from gtfs.cli.work.collection import run_follow

    done = run_follow(source, given, dry_run=dry_run)
    if as_json:
        say_json(done)
        return 0
    if dry_run:
        click.echo(done["text"], nl=False)
        say(f"this would be written to {done['file']}")
        return 0
    say(f"{done['name']} lists {counted(done['repositories'], 'repository')}; {done['file']} says so to the daemon")
    say("the daemon follows it now" if done["told"] else "no daemon answers; start one with gtfs seed")
    return 0


@collection.command("list")
@click.argument("collection_name", required=False, metavar="[WHAT]")
@takes_json
def list_(collection_name: str | None, as_json: bool) -> int:
    """Show what is followed or published, all of the one called WHAT, or what the list of the directory WHAT has."""
    from gtfs.cli.work.collection import run_list

    what = collection_name
    done = run_list(what)
    if as_json:
        say_json(done)
        return 0
    if what is None and not done["collections"]:
        complain("no collection is followed here; of one that is published, gtfs collection list DIR shows the list")
    for item in done["collections"]:
        _show_collection(item, is_whole=what is not None)
    for entry in done.get("entries", []):
        say(f"{entry['name']}  version {entry['version']} of {_day(entry['date'])}  {entry['description']}", indent=4)
    return 0


@collection.command()
@click.argument("collection_name", metavar="NAME")
@click.argument("repositories", nargs=-1, metavar="[REPOSITORY...]")
@takes_json
@takes_dry_run
def prune(collection_name: str, repositories: tuple[str, ...], as_json: bool, dry_run: bool) -> int:
    """Say that mirrors may go which the followed collection NAME does not list any more: all, or these.

    Nobody needs to where few are gone: after a month the daemon ends them by itself.
    """
    from gtfs.cli.work.collection import run_prune

    done = run_prune(collection_name, repositories, dry_run=dry_run)
    if as_json:
        say_json(done)
        return 0
    _show_names("may go", done["approved"])
    mirrors = counted(len(done["approved"]), "mirror")
    say(f"{mirrors} of {collection_name} {'would be' if dry_run else 'now'} followed no more")
    return 0


@collection.command()
@click.argument("collection_name", metavar="NAME")
@click.argument("version", type=click.IntRange(min=1))
@takes_json
@takes_dry_run
def rewind(collection_name: str, version: int, as_json: bool, dry_run: bool) -> int:
    """Hold the accepted VERSION of the followed collection NAME again, and set those above it aside.

    For when a thief of the publisher's key published them: ask the publisher first. The same lists are not taken
    again; others by the same key are, until the keyring has its revocation.
    """
    from gtfs.cli.work.collection import run_rewind

    done = run_rewind(collection_name, version, dry_run=dry_run)
    if as_json:
        say_json(done)
        return 0
    show_rewound(done, dry_run=dry_run)
    return 0


def _show_collection(item: dict[str, Any], *, is_whole: bool) -> None:
    version = f"version {item['version']} of {_day(item['date'])}" if item.get("version") else item.get("kind", "")
    is_own = item.get("kind") == "published"
    count = counted(item.get("repositories") or 0, "repository") if is_own else counted(len(item["mirrors"]), "mirror")
    say(f"{item['name']}  {version}, {count}  {item.get('source') or ''}")
    if item.get("trouble"):
        complain(f"{item['name']}: {item['trouble']}")
    absent = [mirror for mirror in item["mirrors"] if mirror["absent_since"] is not None]
    for mirror in item["mirrors"] if is_whole else absent:
        since = "" if mirror["absent_since"] is None else f", not listed since {_day(mirror['absent_since'])}"
        say(f"    {mirror['name']}  {mirror['directory']}{since}", indent=8)
    for name, why in item["not_followed"].items() if is_whole and is_own else ():
        say(f"    {name}  is left alone: {why}", indent=8)
    for gone in item["gone"]:
        place = "deleted" if gone["put_away"] == "" else gone["put_away"] or gone["directory"]
        say(f"    {gone['name']}  followed no more: {place}", indent=8)


def _show_names(what: str, names: list[str]) -> None:
    for name in names[:_SHOWN]:
        say(f"{what:<8} {name}", indent=9)
    if names[_SHOWN:]:
        say(f"and {len(names) - _SHOWN} more")


def _day(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")
