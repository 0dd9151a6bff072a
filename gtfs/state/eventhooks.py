# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an operator's hooks: after a publish, when packs were withdrawn, and of trouble (gtfs(1), HOOKS). Any thread.

What a hook has heard is kept in the index, so that a restart tells nothing twice and nothing is left out.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.repo.eventhooks import find_event_hooks, run_event_hook
from gtfs.repo.hooks import PUBLISHED, TROUBLE, WITHDRAWN, Hook, HookFailed, NotOwner, Owner, owner_of
from gtfs.state.control import read_object
from gtfs.state.feeddir import feed_directory
from gtfs.state.hooks import hook_seconds
from gtfs.state.state import State
from gtfs.state.withdrawal import PRUNE_GIT, told_of_withdrawal

log = logging.getLogger(__name__)

_HEARD: Final = "hook-heard "  # and the hook's name: a key of the index's meta
_REASON_LENGTH: Final = 1000

Stop = Callable[[], bool]


class HookNews(NamedTuple):
    """What a hook is told at one run; ``heard`` is kept once it ended well."""

    words: Mapping[str, str]
    given: bytes
    heard: str


def runs_event_hooks(state: State) -> bool:
    """Whether they run here: not for a clone, nor where the settings say no."""
    return not (state.config.is_clone() or state.read_only or state.config.get("hooks") == "off")


def run_published_hooks(state: State, stop: Stop, directories: Sequence[Path] = ()) -> bool:
    """Tell of the held catalogue, if it is this publisher's and a hook has not heard of it.

    ``directories`` may have some, too. False if one failed. Raises `BadConfig`, `GitMissing`, `IndexUnusable`.
    """
    if state.held is None or state.config.sign_key() is None:
        return True

    def news(heard: str | None) -> Iterator[HookNews]:
        assert state.held is not None
        version = str(state.held.catalogue.version)
        if heard != version:
            yield HookNews({"GTFS_EVENT": PUBLISHED}, state.held.document, version)

    return run_event_hooks(state, PUBLISHED, news, stop, directories)


def run_withdrawn_hooks(state: State, stop: Stop, directories: Sequence[Path] = ()) -> bool:
    """Tell of packs that are gone from here, as their publisher withdrew them, and that git may still have.

    False if a hook failed. Raises as above.
    """
    told = told_of_withdrawal(state)
    if told is None:
        return True

    def news(heard: str | None) -> Iterator[HookNews]:
        if heard != told:
            yield HookNews({"GTFS_EVENT": WITHDRAWN}, f"{PRUNE_GIT}\n".encode(), told)

    return run_event_hooks(state, WITHDRAWN, news, stop, directories)


def run_trouble_hooks(state: State, troubles: Mapping[str, str], stop: Stop, directories: Sequence[Path] = ()) -> bool:
    """Tell of each kind of trouble that has begun, has another reason or is over since the hook heard last.

    ``troubles``: the reason of each kind that there is now. False if a hook failed. Raises as above.
    """

    def news(heard: str | None) -> Iterator[HookNews]:
        before = {str(kind): str(reason) for kind, reason in (read_object((heard or "{}").encode()) or {}).items()}
        for kind in sorted(before.keys() | troubles.keys()):
            now = troubles.get(kind)
            if now == before.get(kind):
                continue
            how = "over" if now is None else "changed" if kind in before else "begun"
            reason = plain_line(before[kind] if now is None else now)
            if now is None:
                del before[kind]
            else:
                before[kind] = now
            words = {"GTFS_EVENT": TROUBLE, "GTFS_TROUBLE": kind, "GTFS_STATE": how, "GTFS_REASON": reason}
            text = f"{state.repository.path}: {kind} {how}: {reason}\n"
            yield HookNews(words, text.encode("utf-8", "replace"), json.dumps(before))

    return run_event_hooks(state, TROUBLE, news, stop, directories)


def plain_line(text: str) -> str:
    """One line without control characters: it goes into mails and environments."""
    return "".join(c if c.isprintable() else " " for c in text)[:_REASON_LENGTH]


def run_event_hooks(
    state: State,
    event: str,
    news: Callable[[str | None], Iterator[HookNews]],
    stop: Stop,
    directories: Sequence[Path],
) -> bool:
    """Run every hook of an event with what ``news`` has for one that heard this last; False if one failed.

    Raises `BadConfig`, `GitMissing`, `IndexUnusable`.
    """
    if not runs_event_hooks(state):
        return True
    try:
        owner = owner_of(state.repository)
    except NotOwner as error:
        log.warning("%s", error)
        return True
    found = find_event_hooks(state.repository, owner, event, directories)
    _forget(state, event, {each.name for each in found})
    most_s = hook_seconds(state)
    told = [_tell(state, owner, each, news, most_s, stop) for each in found]  # each of them, though one fails
    return all(told)


def _tell(
    state: State,
    owner: Owner,
    hook: Hook,
    news: Callable[[str | None], Iterator[HookNews]],
    most_s: float,
    stop: Stop,
) -> bool:
    name, rows = hook.name, state.index.hooks
    for each in news(state.index.meta.get(_HEARD + name)):
        if stop():
            return False
        words = {**_words(state), **each.words}
        try:
            run_event_hook(state.repository, owner, hook, words, each.given, most_s=most_s, stop=stop)
        except (HookFailed, OSError) as error:
            if not stop():
                if str(error) not in [f.reason for f in rows.failures()]:
                    log.warning("%s; see %s. It is tried again", error, state.layout.hooks_log)
                rows.failed(name, int(time.time()), str(error))
            return False
        with state.index.transaction():
            state.index.meta.set(_HEARD + name, each.heard)
            rows.heard(name, ())
    return True


def _words(state: State) -> dict[str, str]:
    words = {"GTFS_REPOSITORY": str(state.repository.path), "GTFS_CATALOGUE": str(state.catalogues.latest)}
    directory = feed_directory(state.config)
    if directory is not None:
        words["GTFS_FEED_DIR"] = str(directory)
    if state.held is not None:
        words["GTFS_NAME"] = state.held.catalogue.repository
        words["GTFS_VERSION"] = str(state.held.catalogue.version)
    return words


def _forget(state: State, event: str, there: set[str]) -> None:
    """Hooks of this name that are no more fail no more."""
    for failure in state.index.hooks.failures():
        if failure.hook.rpartition("/")[2] == event and failure.hook not in there:
            state.index.hooks.heard(failure.hook, ())
