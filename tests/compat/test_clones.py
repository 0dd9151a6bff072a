# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository in which git runs git-remote-gtfs, and what its git is offered."""

from __future__ import annotations

from pathlib import Path

import pytest
from history import History

from gtfs.ids import SHA1
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refoffers import offer_refs, offered_before
from gtfs.remote.clone import find_clone
from gtfs.repo.repository import create_repository
from gtfs.state.state import State


@pytest.mark.parametrize("name", ["a b", "two\nlines", "ends\n", "page\x0c", "line\u2028", "\udcff"])
def test_a_clone_is_found_by_any_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_repository(tmp_path / name, SHA1)
    monkeypatch.setenv("GIT_DIR", str(made.path))
    assert find_clone() == made


@pytest.mark.parametrize("is_withdrawn", [True, False])
def test_a_place_that_nobody_took_is_offered_again_only_if_it_can_come_again(
    is_withdrawn: bool, tmp_path: Path
) -> None:
    """As of a branch that was not fetched, was forced elsewhere since, and of which git gc left nothing."""
    history, demands = History(tmp_path / "clone.git"), Demands([], [], None)
    old, new, name = history.commit(), history.commit(), b"refs/heads/topic"
    history.ref("refs/remotes/origin/topic", old)
    history.ref("refs/remotes/origin/other", new)
    with State(history.repository) as state:
        state.take_up()
        assert offer_refs(history.repository, state.index, {name: old}, demands).refs == {name: old}
        history.ref("refs/remotes/origin/topic", None)
        history.git("prune", "--expire=now")
        if is_withdrawn:
            state.index.packs.drop([old])
        found = offer_refs(history.repository, state.index, {name: new}, demands)
        assert "does not descend from" in found.held_back[name]
        assert found.refs == offered_before(history.repository, state.index) == ({} if is_withdrawn else {name: old})
