# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs sync``: fetch everything a catalogue lists, verify it, and move refs; by the running node if there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import trio

from gtfs.cli.nodeoptions import help_text, parse
from gtfs.cli.running import given_trust, node_options, raise_file_limit, repository_of_mount, source_of
from gtfs.cli.terminal import Rate, bar, complain, note_faults, size_text
from gtfs.ingest.refmoves import NOT_YET
from gtfs.node.control import ask_node
from gtfs.node.source import Source, open_source
from gtfs.repo.repository import GTFS_DIRECTORY


@click.command(epilog=help_text())
@click.argument("source", type=click.Path())
@click.option(
    "--into", type=click.Path(path_type=Path), help="The backing repository (made if missing); -o repo= does the same."
)
@click.option("-o", "options", multiple=True, metavar="OPT,OPT=VALUE,...", help="Options, see mount.fuse.gtfs(8).")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
def sync(source: str, into: Path | None, options: tuple[str, ...], as_json: bool) -> int:
    """Bring a mirror up to date: all reels, every pack verified and unpacked, refs moved.

    SOURCE is a mounted directory, a mirror's bare repository, or the catalogue (file or URL) of a publisher.
    """
    mount_options, settings = parse([*options, *([f"repo={into}"] if into else [])])
    mounted = repository_of_mount(Path(source))
    found = Source(source, mounted, None) if mounted else source_of(source, settings)
    raise_file_limit()
    rate = Rate()
    with bar("fetching") as show:

        def tell(p: dict[str, Any]) -> None:
            words = f"{size_text(p['bytes'])} of {size_text(p['bytes_of'])}, {p['packs']} of {p['packs_of']} packs"
            if "received" in p:
                words += f", {p['peers']} peers, {size_text(int(rate(p['received'])))}/s"
            # Half of the work is to fetch, the other half to verify.
            show(p["bytes"] + p["packs"] / (p["packs_of"] or 1) * p["bytes_of"], 2 * p["bytes_of"], words)

        done = ask_node(found.repository / GTFS_DIRECTORY, {"do": "sync"}, tell) if found.repository.exists() else None
        if done is None:

            async def work() -> dict[str, Any]:
                node_settings = node_options(settings, mount_options.read_timeout_s)
                async with open_source(found, given_trust(settings), node_settings) as node:
                    # What an existing clone has need not be fetched.
                    await node.take_up(lambda _n: None, lambda _n, _b: None)
                    done = await node.sync_once(tell)
                    await node.upkeep.look()  # refs have moved; a node that runs on does this beside all else
                    return done

            done = trio.run(work)
    return _show(done, as_json)


def _spared(done: dict[str, Any]) -> str:
    """How much was here already, of what a sync to the end would have had to fetch."""
    if done["missing"] or not done["bytes"]:
        return ""
    return f" ({max(0.0, 100 - 100 * done['fetched'] / done['bytes']):.1f} % were here)"


def _show(done: dict[str, Any], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(done, indent=2, sort_keys=True))
    else:
        click.echo(
            f"{done['packs']} packs from {done['reels']} reels, {done['refs_moved']} refs moved; "
            f"fetched {size_text(done['fetched'])} of {size_text(done['bytes'])}{_spared(done)}"
        )
        note_faults(done["faults"])
    held_back: dict[str, list[str]] = {}
    for name, reason in done["refs_held_back"].items():
        held_back.setdefault(reason, []).append(name)
    # What did not come, or was refused, is the news; that refs wait for it only follows.
    late = held_back.pop(NOT_YET, []) if done["missing"] else []
    for reason, names in held_back.items():
        stay = (
            f"{len(names)} refs stay where they are, {names[0]} first" if names[1:] else f"{names[0]} stays where it is"
        )
        complain(f"{stay}: {reason}")
    for oid, reason in done["refused"].items():
        complain(f"{oid} is refused: {reason}")
    codes = [feed["exit_code"] for feed in done["feeds"]]
    for feed in done["feeds"]:
        if feed["error"]:
            complain(feed["error"])
    missing = sorted(done["missing"].items(), key=lambda item: item[1]["exit_code"])
    if missing:
        name, why = missing[0]
        late_refs = f" ({len(late)} refs wait for them)" if late else ""
        total = len(missing) + done["listed"]
        complain(f"{len(missing)} of {total} reels did not come{late_refs}, {name} first: {why['reason']}")
    missing_codes = [why["exit_code"] for _, why in missing]
    # One feed that answers is enough, but a catalogue that must not be believed is never passed over. Refs that wait
    # for reels which did not come are not refused.
    if done["refused"] or 4 in [*codes, *missing_codes] or (held_back and not missing):
        return 4
    if missing:
        return int(max(missing_codes))
    return max(codes) if codes and all(codes) else 0
