# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs sync``: fetch everything a catalogue lists, verify it, and move refs; by the running node if there is one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, takes_dry_run, takes_options
from gtfs.cli.terminal import (
    INTERRUPTED,
    Rate,
    bar,
    complain,
    note_faults,
    refusal_text,
    say,
    say_json,
    size_text,
)
from gtfs.counted import counted
from gtfs.errors import Blame
from gtfs.feed import LATEST
from gtfs.mount.mountpoint import is_dead

if TYPE_CHECKING:
    from gtfs.state.source import Source

_NOTICEABLE = 5  # percent: below, it is what ends of pieces and late counters make


@click.command(cls=Command)
@click.argument("source", type=Place())
@click.option("--into", metavar="PATH", help="The backing repository (made if missing); -o repo= does the same.")
@takes_options
@takes_dry_run
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
def sync(source: str, into: str | None, options: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Bring a mirror up to date: all reels, every pack verified and unpacked, refs moved.

    SOURCE is a mounted directory, a mirror's bare repository, or the catalogue (file or URL) of a publisher.
    """
    words = [*options, *([] if into is None else [_into(into)])]
    if dry_run:
        return _show_foreseen(_foresee(source, words), as_json)
    try:
        done = _work(source, words)
    except KeyboardInterrupt:
        complain("interrupted; what came is kept, and the same gtfs sync goes on from there")
        return INTERRUPTED
    return show_synced(done, as_json=as_json)


@contextlib.contextmanager
def fetching() -> Iterator[tuple[Callable[[dict[str, Any]], None], Callable[[], None]]]:
    """A bar for a sync: what hears of its progress, and of a wait."""
    rate = Rate()
    with bar("fetching") as show:

        def tell(p: dict[str, Any]) -> None:
            words = f"{size_text(p['bytes'])} of {size_text(p['bytes_of'])}, {p['packs']} of {p['packs_of']} packs"
            if "received" in p:
                words += f", {p['peers']} peers, {size_text(int(rate(p['received'])))}/s"
            # Half of the work is to fetch, the other half to verify.
            show(p["bytes"] + p["packs"] / (p["packs_of"] or 1) * p["bytes_of"], 2 * p["bytes_of"], words)

        def wait() -> None:
            show(0, 0, "")

        yield tell, wait


def _work(source: str, words: list[str]) -> dict[str, Any]:
    """By the node that runs, or by one for this alone."""
    repo, asked = _said(words) if words else (None, {})
    place, found = _found(source, repo)
    with fetching() as (tell, wait):

        def here() -> dict[str, Any]:
            with loading():
                from gtfs.cli.work.sync import run

            wait()
            return run(source, place, found, words, tell)

        return by_node_or_here(lambda: ask(place, {"do": "sync", **asked}, tell, wait), here)


def _foresee(source: str, words: list[str]) -> dict[str, Any]:
    """What a sync would do: of a mirror that is not there yet only that it would be made."""
    place, _ = _found(source, _said(words)[0] if words else None)
    if not place.exists():
        return {"repository": str(place), "version": None}

    def here() -> dict[str, Any]:
        from gtfs.cli.work.sync import run_dry

        return run_dry(place)

    return {"repository": str(place), **by_node_or_here(lambda: ask(place, {"do": "foresee_sync"}), here)}


def _show_foreseen(found: dict[str, Any], as_json: bool) -> int:
    if as_json:
        say_json(found)
    elif "newest" not in found:
        say(f"the mirror {found['repository']} would be made, with all that the catalogue lists")
    elif found["newest"] is None:
        say(f"{found['repository']} holds no catalogue, and none was found")
    else:
        news = "" if found["newest"] == found["version"] else f", where {found['version'] or 'none'} is held"
        reels = f"{counted(found['reels'], 'reel')}, {size_text(found['bytes'])} at most, would be fetched"
        say(f"version {found['newest']}{news}; {counted(len(found['refs']), 'ref')} elsewhere; {reels}")
        for ref in found["refs"]:
            moved = f"{ref['ref']} {(ref['from'] or 'none')[:12]}..{(ref['to'] or 'none')[:12]}"
            say(f"move {moved}" if ref["stays"] is None else f"stay {moved}: {ref['stays']}")
    codes = [feed["exit_code"] for feed in found.get("feeds", ())]
    for feed in found.get("feeds", ()):
        if feed["error"]:
            complain(feed["error"])
    if Blame.TRUST.exit_code in codes:
        return Blame.TRUST.exit_code
    return max(codes) if codes and all(codes) else 0


def _into(path: str) -> str:
    from gtfs.mount.options import escape_value

    return f"repo={escape_value(path)}"


def _said(words: list[str]) -> tuple[Path | None, dict[str, list[str]]]:
    """The repository that options name, all of which are looked at, and what of them a running node takes up."""
    from gtfs.cli.nodeoptions import parse  # its table takes longer to load than a node to answer

    said = parse(words)
    return said.command.repo, {
        "keyrings": [str(path) for path in said.trust.keyrings],
        "attesters": [feed.text for feed in said.node.attesters],
    }


def _found(source: str, repo: Path | None) -> tuple[Path, Source | None]:
    """The repository of a SOURCE; None for the source where it is that repository, or mounted from it."""
    path = Path(source)
    if is_dead(path) or (path.is_dir() and not (path / LATEST).is_file()):
        return place_at(path), None
    from gtfs.cli.source import source_at

    found = source_at(source, repo)
    return found.repository, found


def _spared(done: dict[str, Any]) -> str:
    """How much was here already, of what a sync to the end would have had to fetch."""
    if done["missing"] or not done["bytes"]:
        return ""
    spared = 100 - 100 * done["fetched"] / done["bytes"]
    return f" ({spared:.1f} % were here)" if spared >= _NOTICEABLE else ""


def _is_up_to_date(done: dict[str, Any]) -> bool:
    """Whether there was nothing to do, as after a mount that follows by itself. An older node tells no version."""
    nothing = not any(done[key] for key in ("packs", "reels", "refs_moved", "waiting"))
    well = not any(done[key] for key in ("refs_held_back", "refused", "missing"))
    return nothing and well and done.get("version") is not None


def show_synced(done: dict[str, Any], *, as_json: bool) -> int:
    """Say what a sync has done, and give the exit code."""
    if as_json:
        click.echo(json.dumps(done, indent=2, sort_keys=True))
    elif _is_up_to_date(done):
        fetched = f"fetched {size_text(done['fetched'])} of {size_text(done['bytes'])}{_spared(done)}"
        say(f"up to date: version {done['version']}; {fetched}")
    else:
        packs, reels, refs = (
            counted(done["packs"], "pack"),
            counted(done["reels"], "reel"),
            counted(done["refs_moved"], "ref"),
        )
        say(
            f"{packs} from {reels}, {refs} moved; "
            f"fetched {size_text(done['fetched'])} of {size_text(done['bytes'])}{_spared(done)}"
        )
        note_faults(done["faults"])
    # What did not come, or was refused, is the news; that refs wait for it only follows.
    late = set(done.get("refs_late", ()) if done["missing"] else ())  # not from an older node
    whys = done.get("refs_why", {})
    held_back: dict[str, list[str]] = {}
    for name, reason in done["refs_held_back"].items():
        if name not in late:
            held_back.setdefault(reason, []).append(name)
    for reason, names in held_back.items():
        stay = (
            f"{len(names)} refs stay where they are, {names[0]} first" if names[1:] else f"{names[0]} stays where it is"
        )
        why = next((whys[name] for name in names if name in whys), None)
        complain(f"{stay}: {refusal_text(reason, why)}")
    for name, reason in done.get("refs_ahead", {}).items():  # not from an older node
        complain(f"note: {name} stays where it is: {reason}")
    for oid, reason in done["refused"].items():
        complain(f"{oid} is refused: {reason}")
    codes = [feed["exit_code"] for feed in done["feeds"]]
    for feed in done["feeds"]:
        if feed["error"]:
            complain(feed["error"])
        if feed.get("freshness"):
            complain(f"note: {feed['freshness']}")
    for race in done.get("races", ()):
        what = f"version {race['version']} ({race['digest'][:16]})"
        complain(f"note: another signer published {what} beside the held version {done['version']}: gtfs status")
    missing = sorted(done["missing"].items(), key=lambda item: item[1]["exit_code"])
    if missing:
        name, why = missing[0]
        late_refs = f" ({counted(len(late), 'ref')} waiting for them)" if late else ""
        total = len(missing) + done["listed"]
        complain(f"{len(missing)} of {counted(total, 'reel')} did not come{late_refs}, {name} first: {why['reason']}")
    missing_codes = [why["exit_code"] for _, why in missing]
    # One feed that answers is enough, but a catalogue that must not be believed is never passed over. Refs that wait
    # for reels which did not come are not refused.
    refused = Blame.TRUST.exit_code
    if done["refused"] or refused in [*codes, *missing_codes] or (held_back and not missing):
        return refused
    if missing:
        return int(max(missing_codes))
    return max(codes) if codes and all(codes) else 0
