# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of a mirror: each hears of the refs that have moved since it last ran well (gtfs(1), HOOKS). Any thread.

Never inside of a move: what a hook does, or that it hangs, changes nothing for the node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from gtfs.reel.hookrows import HookMove
from gtfs.repo.eventhooks import MOVED, everybodys_moved, hooks_in
from gtfs.repo.hooks import NOT_MOVED, HookFailed, NotOwner, find_hooks, owner_of, run_hook
from gtfs.state.config import BadConfig
from gtfs.state.state import State

log = logging.getLogger(__name__)

_SECONDS: Final = 600  # that a hook may take, if nothing else is set
_MOST_S: Final = 7 * 24 * 3600


def follows_hooks(state: State) -> bool:
    """Whether hooks run here: on a mirror, unless its settings say no. A publisher's own git runs its hooks, and so
    does a clone's."""
    is_mirror = state.config.sign_key() is None and not state.config.is_clone()
    return is_mirror and not state.read_only and state.config.get("hooks") != "off"


def begin_hooks(state: State) -> None:
    """Before refs move for the first time: from now on moves are news to hooks."""
    if follows_hooks(state):
        state.index.hooks.begin()


def run_hooks(
    state: State, stop: Callable[[], bool], running: Callable[[str | None], None], directories: Sequence[Path] = ()
) -> bool:
    """Run, one after another, the hooks that have something to hear; False if one of them has to be tried again.

    ``running`` hears which one runs; ``directories`` may have some, too. Raises `BadConfig`, `GitMissing`,
    `IndexUnusable`.
    """
    if not follows_hooks(state):
        return True
    rows, most_s = state.index.hooks, hook_seconds(state)
    if rows.is_quiet():  # so that git need not be asked where hooks are
        return True
    try:
        owner = owner_of(state.repository)
    except NotOwner as error:
        log.warning("%s", error)
        return True
    hooks = [*find_hooks(state.repository, owner), *everybodys_moved(), *hooks_in(directories, owner, MOVED)]
    rows.gather((hook.name for hook in hooks), NOT_MOVED)
    due = set(rows.due())
    all_well = True
    for hook in hooks:
        if hook.name not in due or stop():
            continue
        moves = rows.moves(hook.name)
        running(hook.name)
        try:
            run_hook(state.repository, owner, hook, map(_words(state), moves), most_s=most_s, stop=stop)
        except (HookFailed, OSError) as error:
            all_well = False
            if not stop():
                log.warning("%s; see %s. It is tried again", error, state.layout.hooks_log)
                rows.failed(hook.name, int(time.time()), str(error))
        else:
            rows.heard(hook.name, moves)
        finally:
            running(None)
    return all_well


def describe_hooks(state: State, running: str | None = None) -> dict[str, Any]:
    """The status of hooks: which have still to hear of moved refs, and which failed."""
    failures = state.index.hooks.failures()
    return {
        "on": follows_hooks(state),
        "log": str(state.layout.hooks_log),
        "running": running,
        "due": state.index.hooks.due(),
        "failed": [{"hook": f.hook, "times": f.times, "last": f.last_s, "reason": f.reason} for f in failures],
    }


def _words(state: State) -> Callable[[HookMove], tuple[bytes, bytes, bytes]]:
    zero = b"0" * (2 * state.repository.fmt.oid_bytes)

    def words(move: HookMove) -> tuple[bytes, bytes, bytes]:
        old, new = (zero if oid is None else oid.hex().encode() for oid in (move.old, move.new))
        return old, new, move.name

    return words


def hook_seconds(state: State) -> float:
    """How long a hook may take; raises `BadConfig`."""
    value = state.config.get("hookseconds")
    if value is None:
        return _SECONDS
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= _MOST_S):
        raise BadConfig(f"{state.config.path}: gtfs.hookseconds is {value}: not a number from 1 to {_MOST_S}")
    return int(value)
