# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs status``: what a node holds, follows and refuses."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.shape import Command, Place
from gtfs.cli.terminal import refusal_text, say, size_text
from gtfs.counted import counted
from gtfs.errors import GtfsError

if TYPE_CHECKING:
    from gtfs.overview.health import RepositoryHealth, Thresholds

_POLICIES = {
    "local": "local: what the owner puts in, by git or through the mount, is vouched for by the owner",
    "catalogue": "catalogue: what the signed catalogue names, or carries a good signature of its own",
    "keyring": "keyring: what carries a good signature of its own",
}

_MODES = {
    "auto": "auto: when any published ref has moved",
    "tags": "tags: when a published tag was made",
    "manual": "manual: when somebody types gtfs publish",
}
_PEERS = 10


_ANSWER_S = 30.0  # so long a node may think; a monitor must not hang with it
_STUCK_S = 60.0  # so long a look at a disk may take; that of a node ends before
_AT_ONCE = 16


def _span(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A time as ``-o`` takes it."""
    if text is None:
        return None
    from gtfs.mount.options import parse_seconds

    return parse_seconds(text, parameter.opts[0])


@click.command(cls=Command)
@click.argument("targets", metavar="[TARGET...]", nargs=-1, type=Place(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON; gtfs(1) describes it.")
@click.option("--check", is_flag=True, help="One line and an exit code for a monitor; gtfs(1) has the codes.")
@click.option("--prometheus", is_flag=True, help="Metrics in Prometheus' text format.")
@click.option("--max-lag", metavar="TIME", callback=_span, help="Lagging: refs are behind for longer (1h).")
@click.option("--max-silence", metavar="TIME", callback=_span, help="Lagging: no feed answered for longer (1d).")
@click.option("--max-age", metavar="TIME", callback=_span, help="Lagging: the catalogue is older.")
def status(targets: tuple[Path, ...], as_json: bool, check: bool, prometheus: bool, **spans: float | None) -> int:
    """Show the node of TARGET, a bare repository or a mounted directory; of several, one line each.

    Without one they are those of the running daemon, see gtfs seed.
    """
    if as_json + check + prometheus > 1:
        raise click.UsageError("--json, --check and --prometheus exclude each other")
    if len(targets) != 1 or check or prometheus:
        thresholds = _thresholds(spans)
        judged = _judge_all(list(dict.fromkeys(targets)), thresholds) if targets else _judge_daemons(thresholds)
        return _show_all(judged, as_json=as_json, check=check, prometheus=prometheus)
    found = _ask(targets[0])
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        _show(found)
    return 0


def _ask(target: Path, timeout_s: float | None = None) -> dict[str, Any]:
    place = place_at(target)

    def here() -> dict[str, Any]:
        from gtfs.cli.work.status import run

        return run(place)

    return by_node_or_here(lambda: ask(place, {"do": "status"}, timeout_s=timeout_s), here, timeout_s or _ANSWER_S)


def _thresholds(spans: dict[str, float | None]) -> Thresholds:
    from gtfs.overview.health import Thresholds

    return Thresholds(**{f"{name}_s": span for name, span in spans.items() if span is not None})


def _judge_daemons(thresholds: Thresholds) -> list[RepositoryHealth]:
    """Those that the running daemon has: each is asked itself, and of what does not run it says why."""
    from gtfs.daemon.asking import NoDaemon, ask_daemon, places_to_ask
    from gtfs.overview.health import stopped, unanswered

    try:
        places = places_to_ask(os.environ, is_root=os.geteuid() == 0)
        told = ask_daemon(places, {"do": "list"}, timeout_s=_ANSWER_S)
    except NoDaemon as error:
        raise NoDaemon(f"{error}, or name a repository: gtfs status REPO") from None
    members = told["repositories"]
    running = {member["name"]: Path(member["directory"]) for member in members if member["stage"] == "running"}
    judged = _judge_all(list(running.values()), thresholds, list(running))
    others = [member for member in members if member["name"] not in running]
    judged += [unanswered(m["name"], m["trouble"] or "it is being opened", is_damaged=m["damaged"]) for m in others]
    return judged + stopped(told["collections"])


def _judge_all(
    targets: Sequence[Path], thresholds: Thresholds, names: Sequence[str] | None = None
) -> list[RepositoryHealth]:
    """Every target judged, the same way as a running node's page does; one whose disk hangs is waited for in vain."""
    from gtfs.overview.health import unanswered

    known: Sequence[str | None] = names or [None] * len(targets)
    every = list(zip(targets, known, strict=True))
    found: list[RepositoryHealth | Exception | None] = [None] * len(every)
    slots, threads = threading.Semaphore(_AT_ONCE), []

    def judge(number: int) -> None:
        try:
            found[number] = _judge(thresholds, *every[number])
        except Exception as error:  # noqa: BLE001  it is raised again
            found[number] = error
        finally:
            slots.release()

    for number in range(len(every)):
        if not slots.acquire(timeout=_STUCK_S):  # all hang, and keep their slots: as many others take their places
            slots.release(_AT_ONCE - 1)
        # The program does not wait for them as it ends.
        threads.append(threading.Thread(target=judge, args=(number,), daemon=True))
        threads[-1].start()
    end_s = time.monotonic() + _STUCK_S
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    judged = []
    for (target, name), one in zip(every, found, strict=True):
        if isinstance(one, Exception):
            raise one
        judged.append(one or unanswered(name or str(target), f"its disk did not answer within {_STUCK_S:.0f} s"))
    return judged


def _judge(thresholds: Thresholds, target: Path, name: str | None) -> RepositoryHealth:
    from gtfs.overview.health import judge, unanswered

    try:
        return judge(_ask(target, _ANSWER_S), int(time.time()), thresholds, name)
    except TimeoutError:
        return unanswered(name or str(target), f"its node did not answer within {_ANSWER_S:.0f} s")
    except (GtfsError, OSError) as e:
        from gtfs.state.damage import is_damage

        return unanswered(name or str(target), str(e), is_damaged=is_damage(e))


def _show_all(healths: list[RepositoryHealth], *, as_json: bool, check: bool, prometheus: bool) -> int:
    from gtfs.overview.health import exit_code, ranked

    healths = ranked(healths)
    if as_json:
        click.echo(json.dumps([one.describe() for one in healths], indent=2, sort_keys=True))
    elif prometheus:
        from gtfs.overview.metrics import metrics
        from gtfs.version import version

        click.echo(metrics(healths, version()), nl=False)
    elif check:
        from gtfs.overview.lines import check_line

        click.echo(check_line(healths))
        return exit_code(healths)
    else:
        from gtfs.overview.lines import table

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\n".join(table(healths, width)))
    return 0


def _when(seconds: int | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _show(found: dict[str, Any]) -> None:
    for key, value in _lines(found):
        say(f"{key:<11} {value}", indent=12)


def _peer_lines(connections: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """One line for each of the busiest peers, all its connections together."""
    peers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for c in connections:
        peers.setdefault((c["address"], c["client"] or c["kind"]), []).append(c)
    busiest = sorted(peers.items(), key=lambda p: -sum(c["downloaded"] + c["uploaded"] for c in p[1]))
    for (address, client), its in busiest[:_PEERS]:
        down, up = sum(c["downloaded"] for c in its), sum(c["uploaded"] for c in its)
        now = sum(c["download_rate"] for c in its), sum(c["upload_rate"] for c in its)
        words = f"{size_text(down)} received ({size_text(now[0])}/s), {size_text(up)} sent ({size_text(now[1])}/s)"
        yield "peer", f"{address} {client}, {counted(len(its), 'connection')}, {words}"
    if len(peers) > _PEERS:
        yield "peer", f"and {len(peers) - _PEERS} more: --json shows all"


def _held_back_lines(held_back: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """One line for each reason why refs are elsewhere than the catalogue says."""
    refs: dict[str, list[dict[str, Any]]] = {}
    for h in held_back:
        refs.setdefault(h["reason"], []).append(h)
    for reason, some in refs.items():
        words = refusal_text(reason, some[0].get("why"))  # not from an older node
        yield "held back", _refs([h["ref"] for h in some]) + words


def _refs(names: list[str]) -> str:
    return f"{len(names)} refs, {names[0]} first: " if names[1:] else f"{names[0]}: "


def _quorum_lines(quorums: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """One line for all refs that have come as far."""
    refs: dict[tuple[int, tuple[str, ...], int, int], list[str]] = {}
    for q in quorums:
        useless = len(q["useless"])
        refs.setdefault((q["needed"], tuple(q["have"]), len(q["missing"]) - useless, useless), []).append(q["ref"])
    for (needed, have, missing, useless), names in refs.items():
        counts = f"{len(have)} of {needed} sign-offs"
        whose = f", by {', '.join(have[:3])}" + (f" and {len(have) - 3} more" if have[3:] else "") if have else ""
        lost = f", and what {useless} said does not: gtfs verify" if useless else ""
        yield "quorum", _refs(names) + counts + whose + f"; {missing} more would count" + lost


def _keyring_lines(ring: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The ring, and those of its keys that something names and that soon sign no more."""
    if ring is None or ring["digest"] is None:  # an older node tells nothing
        return
    expiring = ring["expiring"] or []
    yield "keyring", f"{counted(ring['keys'], 'key')}, digest {ring['digest'][:16]}"
    follows = ring.get("follows")  # not from an older node
    if follows:
        yield "ring of", f"{follows['repository']} {follows['ref']}, commit {(follows['commit'] or 'none')[:16]}"
        if follows["trouble"]:
            yield "ring of", f"STAYS AS IT IS: {follows['trouble']}"
        for left_out in follows["left_out"]:
            yield "left out", left_out
    for key in expiring:
        if key["named"]:
            yield "key", f"{key['fingerprint']}: {key['trouble']}"
    others = sum(not key["named"] for key in expiring)
    if others:
        yield "keys", f"{others} that nothing names soon sign no more, or do not now: gtfs trust REPO check"


def _publish_lines(publish: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """A publisher's setting, and what failed; nothing of a mirror or an older node."""
    if publish is None:
        return
    yield "publish", _MODES[publish["mode"]]
    if publish.get("proposed"):
        yield "publish", f"version {publish['proposed']} is proposed, and waits for signatures: gtfs publish --complete"
    failed = publish["outstanding"]
    if failed:
        tries = f"{failed['tries']} tries since {_when(failed['since'])}, the last one {_when(failed['tried'])}"
        yield "publish", f"OUTSTANDING, {tries}: {failed['reason']}"
    announcing = publish.get("announcing")  # not from an older node
    if announcing is None:
        return
    mail = f", and by mail to {announcing['mail']}" if announcing["mail"] else ""
    yield "announce", f"into {announcing['repository']}{mail}"
    due, failed = announcing["due"], announcing["outstanding"]
    if due and not failed:
        yield "announce", f"{counted(len(due), 'tag')} in a moment, {due[0]} first"
    elif due:
        tries = f"{failed['tries']} tries since {_when(failed['since'])}, the last one {_when(failed['tried'])}"
        yield "announce", f"OUTSTANDING, {counted(len(due), 'tag')}, {due[0]} first; {tries}: {failed['reason']}"


def _withdrawn_lines(withdrawn: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if withdrawn["packs"]:
        packs = f"{withdrawn['packs']} pack{'' if withdrawn['packs'] == 1 else 's'}"
        what = "by its publisher" if withdrawn["version"] is None else f"by version {withdrawn['version']}"
        yield "withdrawn", f"{packs} {what}; git gc --prune=now removes what git has of it, see gtfs(1)"
    if withdrawn["reached"]:
        yield "withdrawn", f"{withdrawn['reached']} more that refs here still reach: seeded no more, and kept for them"


def _hook_lines(hooks: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Hooks that run, wait or failed."""
    if hooks is None:  # of an older node
        return
    if hooks["running"]:
        yield "hook", f"{hooks['running']} runs"
    for failed in hooks["failed"]:
        times = f", {failed['times']} times" if failed["times"] > 1 else ""
        yield "hook", f"{failed['reason']} ({_when(failed['last'])}{times}): see {hooks['log']}"


def _worktree_lines(worktrees: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for its in worktrees:
        at = "nothing" if its["at"] is None else its["at"][:16]
        behind = "" if its["at"] == its["wanted"] else f", and is to be at {(its['wanted'] or 'nothing')[:16]}"
        yield (
            "checkout",
            f"{its['path']} at {at} of {its['ref']}{behind}" + (f": {its['trouble']}" if its["trouble"] else ""),
        )


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    packs = dict(found["packs"])
    known, size = packs.pop("known"), packs.pop("bytes")
    states = ", ".join(f"{count} {state}" for state, count in sorted(packs.items()))
    yield "repository", found["repository"]
    yield "node", ("running" if found["running"] else "not running") + (", read-only" if found["read_only"] else "")
    yield "packs", f"{known}, {size_text(size)}" + (f" ({states})" if states else "")
    if found["unencodable"]:
        why = "objects are missing (a shallow or partial clone?) or over a limit"
        yield "not made", f"{counted(found['unencodable'], 'pack')}: {why}"
    yield "policy", _POLICIES[found["policy"]]
    yield from _keyring_lines(found.get("keyring"))
    yield from _publish_lines(found.get("publish"))
    catalogue = found.get("catalogue")
    if catalogue:
        words = [f"version {catalogue['version']} of {catalogue['repository']}, {_when(catalogue['date'])}"]
        until = _when(max(catalogue["valid_until"], catalogue["fresh_until"] or 0))
        stale = f"STALE, it counted until {until}: have it published or refreshed, then gtfs sync"
        words += [stale if catalogue["stale"] else f"counts until {until}"]
        words += ["EQUIVOCATION: two catalogues of this version"] if catalogue["equivocation"] else []
        held_back = found["refs_held_back"]
        words += ["refs not moved yet: gtfs sync"] if any(h["sync"] for h in held_back) else []
        yield "catalogue", "; ".join(words)
        for attester in catalogue.get("two_packs", ()):  # not from an older node
            yield "attester", f"{attester} SIGNED TWO PACKS of one commit, see attestations/"
        for race in catalogue.get("races", ()):
            ours = f"{catalogue['version']} ({catalogue['digest'][:16]})"
            yield "race", f"another signer published {race['version']} ({race['digest'][:16]}) beside {ours}"
        yield "signed by", ", ".join(catalogue["signers"])
        yield from _held_back_lines(held_back)
        yield from _quorum_lines(found.get("quorums", []))  # none from an older node
        if catalogue["held_back"] > len(held_back):
            yield "held back", f"and {catalogue['held_back'] - len(held_back)} more"
    yield from _worktree_lines(found.get("worktrees", []))  # none from an older node
    if (withdrawn := found.get("withdrawn")) is not None:  # not from an older node
        yield from _withdrawn_lines(withdrawn)
    yield from _hook_lines(found.get("hooks"))
    for feed in found.get("feeds", ()):
        yield "feed", f"{feed['feed']}: {feed['error'] or 'answered ' + _when(feed['answered'])}"
        if feed.get("freshness"):  # not from an older node
            yield "freshness", feed["freshness"]
    for attester in found.get("attesters", ()):
        said = attester["error"] or "answered " + _when(attester["answered"])
        yield "attester", f"{attester['attester']}: {said}"
    swarm = found.get("swarm")
    if swarm and swarm["port"] is None:
        yield "swarm", "offline"
    elif swarm:
        moved = f"{size_text(swarm['downloaded'])} received, {size_text(swarm['uploaded'])} sent"
        yield "swarm", f"port {swarm['port']}, {counted(swarm['peers'], 'peer')}, {moved}"
        if "share" in swarm:  # not from an older node
            share = swarm["share"]
            given, taken = size_text(share["given"]), size_text(share["taken"])
            yield "share", f"ratio {share['ratio']:.2f}: {given} given, {taken} taken since the reels came here"
        if "cache" in swarm:
            yield "cache", f"{size_text(swarm['cache']['used'])} of {size_text(swarm['cache']['limit'])}"
        yield from _peer_lines(swarm.get("connections", []))
    pointer = found.get("pointer")
    if pointer and pointer["key"]:
        yield "pointer", f"version {pointer['version']} at {pointer['nodes']} DHT nodes, put {_when(pointer['put'])}"
    incoming = found.get("incoming")
    if incoming and (incoming["queued"] or incoming["waiting"]):
        yield "written", f"{incoming['queued']} queued, {incoming['waiting']} wait for parents"
    if incoming and incoming["error"]:
        yield "written", incoming["error"]
    if (behind := found.get("following")) and behind["error"]:  # not from an older node
        yield "following", behind["error"]
    for refused in found["quarantine"][-10:]:
        yield "refused", f"{refused['file']}: {refused['reason']}"
