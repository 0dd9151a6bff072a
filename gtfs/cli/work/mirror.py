# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mirror``: a mirror is made by who will run it, written into gtfs.conf.d, and synced by the daemon or here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import trio

from gtfs.cli.ask import ask, by_node_or_here
from gtfs.cli.work.collection import run_follow
from gtfs.cli.work.configured import CHECK
from gtfs.cli.work.mirrorplan import MirrorPlan, absolute_worktree, plan_mirror
from gtfs.cli.work.running import may_ask, tell_wait
from gtfs.cli.work.sync import run as sync_here
from gtfs.daemon.asking import ask_daemon
from gtfs.daemon.mirrored import NotMirrored, drop_in_text, ring_beside, write_drop_in
from gtfs.feed import DhtFeed
from gtfs.ids import parse_fingerprint
from gtfs.mount.options import escape_value
from gtfs.node.nursery import first_error
from gtfs.node.opening import bring_believed, open_source
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import open_repository
from gtfs.state.belief import Belief
from gtfs.state.config import Config
from gtfs.state.control import NodeFailed, Tell
from gtfs.state.mirrorsettings import answer_mirror
from gtfs.state.source import Source
from gtfs.state.state import State
from gtfs.swarm.session import open_session

_PREFETCH = "prefetch"  # of every mirror of a daemon


T = TypeVar("T")


def run_dry(text: str, directory: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """What would be written, once SOURCE is judged."""
    plan = plan_mirror(text, directory, given)
    found: dict[str, Any] = {"source": plan.text, "name": plan.name, "directory": str(plan.directory)}
    found |= {"kind": "mirror", "file": str(plan.file), "text": "", "next": plan.unit.how() if plan.unit else plan.how}
    if plan.source is None:
        if plan.before is None:
            followed = run_follow(plan.text, _follow_words(plan), dry_run=True)
            found |= {"name": followed["name"], "file": followed["file"], "text": followed["text"]}
        return {**found, "kind": "collection"}
    assert plan.directory is not None
    if plan.before is None:
        if not plan.directory.exists():
            _judge(plan)
        found["text"] = drop_in_text(plan.name, plan.source.text, plan.directory, given["options"])
    return found


def run(
    text: str, directory: Path | None, given: dict[str, Any], tell: Tell, wait: Callable[[], None]
) -> dict[str, Any]:
    """See `gtfs.cli.mirror`; gives what it shows."""
    plan = plan_mirror(text, directory, given)
    return _run_collection(plan) if plan.source is None else _run_mirror(plan, tell, wait)


# -- one repository -------------------------------------------------------------------------------------------------


def _run_mirror(plan: MirrorPlan, tell: Tell, wait: Callable[[], None]) -> dict[str, Any]:
    assert plan.source is not None and plan.directory is not None
    if plan.is_ours:
        _make(plan)
    is_new = _write(plan)
    if plan.unit is not None:
        plan.unit.enable()
    if is_new and plan.by_daemon:
        ask_daemon([plan.places], {"do": "reread"})
    # Whose daemon it is may not read them; what it begins with it was given.
    files = plan.given["keyrings"] if plan.is_ours or plan.before is not None else ()
    asked = {"keyrings": [str(path.absolute()) for path in files], **_settings(plan.given)}
    done: dict[str, Any] = {"changed": [], "sync": None}  # a daemon of another user makes it once it runs
    if plan.by_daemon:
        done = ask_daemon([plan.places], {"do": "mirror", "name": plan.name, **asked}, tell, wait)
    elif plan.is_ours:
        done = _here(plan, plan.source, asked, tell, wait)
    return {
        "kind": "mirror", "name": plan.name, "source": plan.source.text, "directory": str(plan.directory),
        "file": str(plan.file) if plan.before is None else plan.before.origin, "new": plan.before is None,
        "changed": [*(["options"] if is_new and plan.before else []), *done["changed"]], "repositories": None,
        "next": plan.how or (plan.unit.lasts() if plan.unit else None), "sync": done["sync"],
    }  # fmt: skip


def _write(plan: MirrorPlan) -> bool:
    """Say it to the daemon's settings; whether they did not say so yet."""
    assert plan.source is not None and plan.directory is not None
    before, ring = plan.before, ring_beside(plan.file)
    is_own = before is None or before.origin.startswith(f"{plan.file}:")
    if not is_own and plan.given["options"]:
        assert before is not None
        raise NotMirrored(f"{plan.name} is written in {before.origin}; say there what -o says")
    if not is_own or not (before is None or plan.given["options"] or ring.exists()):
        return False
    if not plan.is_ours and (before is None or ring.exists()):
        _have_made(plan, ring)
        if not plan.by_daemon:
            return before is None
    options = plan.given["options"]
    if before is not None and not options:
        kept = (words for words in before.options if words != _PREFETCH)
        options = tuple(words for words in kept if words != _by_ring(ring) and not words.startswith("signer="))
    text = drop_in_text(plan.name, plan.source.text, plan.directory, options)
    return write_drop_in(plan.places, CHECK, plan.file, text)


def _by_ring(ring: Path) -> str:
    return f"keyring={escape_value(str(ring))}"


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    return {"push_url": given["push_url"], "worktrees": [str(absolute_worktree(text)) for text in given["worktrees"]]}


def _make(plan: MirrorPlan) -> None:
    """The mirror as it begins, with the catalogue that it follows; nothing is done if it is there."""
    assert plan.source is not None and plan.directory is not None
    source, said = plan.source, plan.said()
    if plan.directory.is_dir():
        with contextlib.suppress(OSError):
            plan.directory.rmdir()  # an empty one, as git clone takes it
    if plan.directory.exists() and Config(open_repository(plan.directory)).get_all("source"):
        return
    tell_wait(source)

    async def make() -> None:
        async with open_source(source, may_ask(said.trust), _asking(plan)):
            pass

    _run_trio(make)


def _asking(plan: MirrorPlan) -> NodeOptions:
    """How SOURCE is asked: without the swarm, but for the DHT, and then not on the port that a daemon may have."""
    node = plan.said().node
    if plan.source is not None and isinstance(plan.source.feed, DhtFeed):
        listen = re.sub(r":[0-9]+(?=,|\Z)", ":0", node.swarm.listen)
        return replace(node, swarm=replace(node.swarm, listen=listen, ports=None))
    return replace(node, offline=True)


def _have_made(plan: MirrorPlan, ring: Path) -> None:
    """The same by a daemon of another user, who has neither our keys nor a terminal: the ring lies beside its settings
    until it holds a catalogue."""
    assert plan.source is not None and plan.directory is not None
    if plan.before is None:
        belief = _judge(plan)
        words = [_by_ring(ring), *(f"signer={signature.primary}" for signature in belief.accepted.signatures)]
        text = drop_in_text(plan.name, plan.source.text, plan.directory, [*plan.given["options"], *words])
        write_drop_in(plan.places, CHECK, plan.file, text, belief.ring)
    if plan.unit is not None:
        plan.unit.enable()
    if plan.by_daemon:
        ask_daemon([plan.places], {"do": "reread"})
        try:
            ask_daemon([plan.places], {"do": "mirror", "name": plan.name, "sync": False})
        except NodeFailed as error:
            if plan.places.data in plan.directory.parents:
                raise
            there = "the daemon is another user's, and may write there only if gtfs-seed.service says so"
            raise NodeFailed(f"{error}; {there}", error.exit_code) from None


def _judge(plan: MirrorPlan) -> Belief:
    """The catalogue of SOURCE, once it is believed."""
    assert plan.source is not None and plan.source.feed is not None
    said, feed = plan.said(), plan.source.feed
    tell_wait(plan.source)

    async def judge() -> Belief:
        options = _asking(plan)
        if options.offline:
            return (await bring_believed(feed, may_ask(said.trust), options, None))[1]
        async with open_session(options.swarm) as session:
            return (await bring_believed(feed, may_ask(said.trust), options, session))[1]

    return _run_trio(judge)


def _here(
    plan: MirrorPlan, source: Source, asked: dict[str, Any], tell: Tell, wait: Callable[[], None]
) -> dict[str, Any]:
    """Settings and a sync where no daemon runs: by the node that does, or by one for this alone."""
    place = source.repository
    request = {"do": "mirror", **asked}

    def settings_here() -> dict[str, Any]:
        with State(open_repository(place)) as state:
            return answer_mirror(state, request)

    def sync_by_node() -> dict[str, Any] | None:
        return ask(place, {"do": "sync", "keyrings": asked["keyrings"], "attesters": []}, tell, wait)

    words = [*plan.configuration.options, *plan.given["options"]]
    words += [f"keyring={escape_value(path)}" for path in asked["keyrings"]]
    done = by_node_or_here(lambda: ask(place, request), settings_here)
    synced = by_node_or_here(sync_by_node, lambda: sync_here(source.text, place, source, words, tell))
    return {**done, "sync": synced}


def _run_trio(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return trio.run(work)
    except BaseExceptionGroup as group:
        if isinstance(first_error(group), KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


# -- a collection ---------------------------------------------------------------------------------------------------


def _run_collection(plan: MirrorPlan) -> dict[str, Any]:
    if plan.given["push_url"] is not None or plan.given["worktrees"]:
        raise NotMirrored("--push-url and --worktree are for one repository, and this is a collection")
    before, count, name, file = plan.before, None, plan.name, str(plan.file)
    if before is None:
        followed = run_follow(plan.text, _follow_words(plan), dry_run=False)
        count, name, file = followed["repositories"], followed["name"], followed["file"]
    elif not (_asked_of_collection(plan.given) <= before.trusted | {*before.options}):
        raise NotMirrored(f"{before.name} is written in {file}; say there what is to be another")
    elif plan.is_running:  # who wrote it there may have been killed before the daemon read it
        followed = ask_daemon([plan.places], {"do": "list"})["collections"]
        if all(each["name"] != before.name for each in followed):
            ask_daemon([plan.places], {"do": "reread"})
    if plan.unit is not None:
        plan.unit.enable()
    return {
        "kind": "collection", "name": name, "source": plan.text, "file": file, "new": before is None, "changed": [],
        "directory": str(plan.directory or Path(plan.configuration.mirrors, name)), "repositories": count,
        "next": plan.how or (plan.unit.lasts() if plan.unit else None), "sync": None,
    }  # fmt: skip


def _asked_of_collection(given: dict[str, Any]) -> set[object]:
    """What is to be in its settings."""
    return {
        *given["options"],
        *(path.absolute() for path in given["keyrings"]),
        *map(parse_fingerprint, given["signers"]),
    }


def _follow_words(plan: MirrorPlan) -> dict[str, Any]:
    """What ``gtfs collection follow`` is given."""
    given = {key: plan.given[key] for key in ("keyrings", "signers", "name", "config", "options")}
    unsaid = {"manifest": False, "feed": None, "include": (), "exclude": (), "gone": None}
    return {**given, **unsaid, "directory": plan.directory}
