# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish``: the whole of it where no node runs, and what a ``post-receive`` hook asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from gtfs.cli.ask import ask, place_at
from gtfs.cli.publish import held_back_lines
from gtfs.cli.terminal import complain, os_error_text, size_text, stop_on_interrupt
from gtfs.cli.work.announce import announce_lines
from gtfs.cli.work.feed import keep_feed
from gtfs.errors import GtfsError
from gtfs.repo.processes import collect_seldom
from gtfs.repo.repository import Repository, open_repository, owner_name
from gtfs.repo.work import Work
from gtfs.state.attest import attest, describe_attested, is_attester
from gtfs.state.config import Config
from gtfs.state.control import Tell
from gtfs.state.describe import describe_proposal, describe_published, describe_step
from gtfs.state.due import is_due, published_refs
from gtfs.state.eventhooks import run_published_hooks
from gtfs.state.feeddir import write_feed
from gtfs.state.foretell import foretell
from gtfs.state.lock import Busy
from gtfs.state.outstanding import is_by_itself, note_failure
from gtfs.state.proposal import complete_with, propose
from gtfs.state.publish import Published, publish_now
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable

_BUSY_S: Final = 60.0  # how long a push waits for another one's publish, or a command, to end
_LOOK_S: Final = 0.3


def run(
    place: Path, force: bool, jobs: int | None, tell: Tell, *, to_propose: bool = False, prune: bool = False
) -> dict[str, Any] | None:
    """What was published, or proposed; None after Ctrl-C."""
    collect_seldom()
    repository = open_repository(place)
    if Config(repository).get_all("source"):
        from gtfs.node.askothers import ask_others

        ask_others(repository)
    with State(repository) as state, stop_on_interrupt() as stop:
        if is_attester(state) and not to_propose:
            return describe_attested(state, *attest(state, force=force))
        try:
            work = Work(jobs, stop, lambda step: tell(describe_step(step)))
            if to_propose:
                return describe_proposal(state, propose(state, work, force=force, prune=prune))
            published = publish_now(state, work, force=force, prune=prune)
            state.drop_superseded(state.pop_superseded())  # nobody seeds them
        except Unpublishable:
            if stop():
                return None
            raise
        _tell(state, stop)
        return describe_published(state, published)


def run_complete(place: Path, files: Sequence[Path]) -> dict[str, Any]:
    """What was published."""
    with State(open_repository(place)) as state:
        published = complete_with(state, files)
        state.drop_superseded(state.pop_superseded())  # nobody seeds them
        _tell(state, lambda: False)
        return describe_published(state, published)


def write_feed_at(place: Path, directory: Path) -> None:
    """Bring a directory for a web server to what was published."""
    write_feed(open_repository(place).layout, directory.absolute())


def _tell(state: State, stop: Callable[[], bool]) -> None:
    """After a publish without a node: the feed for a web server, then the hooks. It is published, whatever comes."""
    keep_feed(state, "published")
    run_published_hooks(state, stop)


def run_foretell(place: Path, *, prune: bool = False) -> dict[str, Any]:
    """What would be published."""
    with State(open_repository(place), may_be_read_only=True) as state:
        return foretell(state, prune=prune)


def run_pushed(repo: Path, jobs: int | None) -> None:
    """Publish after a push if that is due, and say on stderr what came of it; nothing here fails the push."""
    try:
        for line in _after_push(open_repository(place_at(repo)), jobs):
            complain(line)
    except GtfsError as error:
        complain(f"pushed, but NOT published: {error}")
    except OSError as error:
        complain(f"pushed, but NOT published: {os_error_text(error)}")


def _after_push(repository: Repository, jobs: int | None) -> list[str]:
    path, root = repository.path, repository.layout.root
    try:
        owner = root.stat().st_uid
    except FileNotFoundError:
        return [f"pushed, but {path} is no publisher's: gtfs init {path}"]
    if owner != os.geteuid():
        name = owner_name(owner)
        return [f"pushed; what is published of {path} is {name}'s: by a node that {name} runs, or gtfs publish"]
    config = Config(repository)
    if not is_by_itself(config):
        return []
    end_s = time.monotonic() + _BUSY_S
    while True:
        if ask(path, {"do": "moved"}) is not None:
            return ["pushed; the running node publishes it in a moment" + _only_tags(config)]
        try:
            state = State(repository)
        except Busy as error:  # another push's, or a node that has only begun
            if time.monotonic() > end_s:
                note_failure(repository.layout, error)
                raise
            time.sleep(_LOOK_S)
            continue
        with state:
            if not is_due(state, published_refs(state)):
                return _announced(repository)
            try:
                lines = _lines(publish_now(state, Work(jobs), asks=_has_terminal()))
                _tell(state, lambda: False)
            except (GtfsError, OSError) as error:
                said = os_error_text(error) if isinstance(error, OSError) else str(error)
                return [
                    f"pushed, but NOT published: {said}",
                    f"it is tried again at the next push, by a node, or by: gtfs publish {path}",
                ]
        return lines + _announced(repository)


def _announced(repository: Repository) -> list[str]:
    return [line for line, _ in announce_lines(repository, asks=_has_terminal())]


def _only_tags(config: Config) -> str:
    return ", if there is a new tag" if config.publish_mode() == "tags" else ""


def _lines(published: Published) -> list[str]:
    lines = held_back_lines({name.decode("utf-8", "replace"): why for name, why in published.held_back.items()})
    if published.is_new:
        packs = f"{published.new_packs} new pack{'' if published.new_packs == 1 else 's'}"
        lines.insert(0, f"published version {published.version}: {packs}, {size_text(published.new_bytes)}")
    return lines


def _has_terminal() -> bool:
    """Whether somebody is there whom the agent can ask for a passphrase."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
