# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator of a mirror sets beside what its catalogue says (gtfs(1), ``mirror``). Synchronous.

What writes does so under the node's lock, by the running node if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtfs.catalogue.addresses import PUSH_FORM, is_push_url
from gtfs.repo.pushes import refuse_pushes
from gtfs.state.config import BadConfig
from gtfs.state.state import State
from gtfs.state.worktrees import add_worktrees, parse_worktree


def refuse_pushes_here(state: State) -> None:
    """Let pushes to the refs of the held catalogue be refused, unless this repository publishes. Raises OSError."""
    held = state.held
    if held is None or state.config.sign_key() is not None or state.config.is_clone():
        return
    sources = state.config.get_all("source")
    place = f"the catalogue of {held.catalogue.repository}" + (f" ({sources[0]})" if sources else "")
    # People are told, and nothing is run with it.
    where = state.config.get("pushurl") or held.catalogue.push_url
    refuse_pushes(state.repository, held.catalogue.refs, place, where if where and is_push_url(where) else None)


def check_push_url(text: str) -> None:
    """Raise `BadConfig` for what is no place to push to; the empty word is none."""
    if text and not is_push_url(text):
        raise BadConfig(f"--push-url {text[:80]!a}: it is no {PUSH_FORM}")


def answer_mirror(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    """What ``gtfs mirror`` asks for: what is given is set, the rest stays. Gives what changed.

    Raises `BadConfig`, `BadWorktree`, `GitFailed`, OSError.
    """
    changed = []
    place = request.get("push_url")
    if place is not None and place != (state.config.get("pushurl") or ""):
        check_push_url(place)
        state.config.set("pushurl", *filter(None, [place]))
        refuse_pushes_here(state)
        changed.append("push_url")
    if add_worktrees(state, [parse_worktree(text) for text in request.get("worktrees", ())]):
        changed.append("worktree")
    return {"changed": changed}
