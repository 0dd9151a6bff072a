# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs offer``: the fork is made, what is offered looked at, and its catalogue published, by its node if one runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.publish import publish_by_node
from gtfs.cli.work.publish import run as publish
from gtfs.daemon.asking import NoDaemon, ask_daemon, places_to_ask
from gtfs.repo.place import git_dir_at
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.control import NodeFailed
from gtfs.state.fork import (
    BRANCHES,
    NotOffered,
    Upstream,
    branch_of,
    bring,
    check_offer,
    describe_offers,
    drop_taken,
    fork_of,
    open_fork,
    put_offer,
    read_upstream,
    withdraw,
)
from gtfs.state.private import check_private


def run(
    place: Path,
    revision: str,
    to: str | None,
    source: Path | None,
    sign_key: str | None,
    gnupg_home: Path | None,
) -> dict[str, Any]:
    """Offer a revision; gives what is offered then."""
    repository = open_repository(place)
    check_private(repository.layout.root)
    upstream = read_upstream(repository)
    there = repository if source is None else open_repository(place_at(source))
    ref = branch_of(upstream, there, revision, to)
    fork = open_fork(upstream, sign_key, gnupg_home)
    tip = bring(fork, there, revision)
    put_offer(fork, ref, tip, check_offer(fork, upstream, tip))
    drop_taken(fork, upstream)
    _publish(fork)
    return {**describe_offers(upstream), "seeded": _have_it_seeded(repository, fork)}


def run_list(place: Path) -> dict[str, Any]:
    """What is offered."""
    return _describe(read_upstream(open_repository(place)))


def run_withdraw(place: Path, name: str) -> dict[str, Any]:
    """Take one back; gives what is offered still."""
    upstream = read_upstream(open_repository(place))
    fork = fork_of(upstream)
    if not fork.path.exists():
        raise NotOffered(f"nothing was ever offered from {place}")
    withdraw(fork, BRANCHES + os.fsencode(name.removeprefix("refs/heads/")))
    _publish(fork)
    return _describe(upstream)


def _publish(fork: Repository) -> None:
    by_node_or_here(
        lambda: publish_by_node(fork.path, False, None, False, prune=True),
        lambda: publish(fork.path, False, None, lambda _step: None, prune=True) or {},
    )


def _is_seeded(fork: Repository) -> bool:
    return ask(fork.path, {"do": "status"}) is not None


def _have_it_seeded(repository: Repository, fork: Repository) -> bool:
    """Whether a node runs on it, or will: the daemon that has the repository learns of what is beside it."""
    if _is_seeded(fork):
        return True
    places = places_to_ask(os.environ, is_root=os.geteuid() == 0)
    with contextlib.suppress(NoDaemon, NodeFailed, OSError):
        members = ask_daemon(places, {"do": "list"})["repositories"]
        if any(git_dir_at(Path(member["directory"])).resolve() == repository.path for member in members):
            ask_daemon(places, {"do": "reread"})
            return True
    return False


def _describe(upstream: Upstream) -> dict[str, Any]:
    fork = fork_of(upstream)
    return {**describe_offers(upstream), "seeded": fork.path.exists() and _is_seeded(fork)}
