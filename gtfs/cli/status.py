# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs status``: what a node holds, follows and refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gtfs.cli.running import repository_of_mount
from gtfs.cli.terminal import size_text
from gtfs.node.control import ask_node
from gtfs.node.node import describe_state
from gtfs.node.state import State
from gtfs.repo.repository import open_repository

_POLICIES = {
    "local": "local: what the owner puts in, by git or through the mount, is vouched for by the owner",
    "catalogue": "catalogue: what the signed catalogue names, or carries a good signature of its own",
    "keyring": "keyring: what carries a good signature of its own",
}


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON; gtfs(1) describes it.")
def status(target: Path, as_json: bool) -> int:
    """Show the node of TARGET, a bare repository or a mounted directory."""
    repository = open_repository(repository_of_mount(target) or target)
    found = ask_node(repository.state, {"do": "status"}, lambda _p: None)
    if found is None:
        with State(repository) as state:
            found = describe_state(state)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        _show(found)
    return 0


def _when(seconds: int | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _show(found: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    packs = dict(found["packs"])
    known, size = packs.pop("known"), packs.pop("bytes")
    states = ", ".join(f"{count} {state}" for state, count in sorted(packs.items()))
    table.add_row("repository", found["repository"])
    table.add_row("node", "running" if found["running"] else "not running")
    table.add_row("packs", f"{known}, {size_text(size)}" + (f" ({states})" if states else ""))
    if found["unencodable"]:
        table.add_row("cannot be made", f"{found['unencodable']} packs (objects are missing: shallow or partial clone)")
    table.add_row("policy", _POLICIES[found["policy"]])
    catalogue = found.get("catalogue")
    if catalogue:
        words = [f"version {catalogue['version']} of {catalogue['repository']}, {_when(catalogue['date'])}"]
        words += ["STALE"] if catalogue["stale"] else []
        words += ["EQUIVOCATION: two catalogues of this version"] if catalogue["equivocation"] else []
        words += [] if catalogue["followed"] else ["refs not moved yet: gtfs sync"]
        table.add_row("catalogue", "; ".join(words))
        table.add_row("signed by", ", ".join(catalogue["signers"]))
    for feed in found.get("feeds", ()):
        said = feed["error"] or f"answered {_when(feed['answered'])}"
        table.add_row("feed", f"{feed['feed']}: {said}")
    swarm = found.get("swarm")
    if swarm:
        table.add_row(
            "swarm",
            "offline"
            if swarm["port"] is None
            else f"port {swarm['port']}, {swarm['peers']} peers, {size_text(swarm['downloaded'])} received, "
            f"{size_text(swarm['uploaded'])} sent",
        )
    incoming = found.get("incoming")
    if incoming and (incoming["queued"] or incoming["waiting"] or incoming["error"]):
        table.add_row("written", f"{incoming['queued']} queued, {incoming['waiting']} wait for parents")
        if incoming["error"]:
            table.add_row("", incoming["error"])
    for refused in found["quarantine"][-10:]:
        table.add_row("refused", f"{refused['file']}: {refused['reason']}")
    Console(soft_wrap=True).print(table)
