# SPDX-License-Identifier: GPL-3.0-or-later
"""A command is done by the running node, or here, also while a node begins or ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.cli import ask
from gtfs.cli.ask import by_node_or_here
from gtfs.state.lock import Busy, Lock


class Place:
    """A repository whose holder changes with each look: None, a ``node`` that is mute, ``answers``, ``command``."""

    def __init__(self, *holders: str | None) -> None:
        self._holders = list(holders)
        self.did: list[str] = []

    def by_node(self) -> str | None:
        self.did.append("asked")
        return "node's" if self._holders[0] == "answers" else None

    def here(self) -> str:
        holder = self._holders[0]
        if len(self._holders) > 1:
            self._holders.pop(0)
        if holder is not None:
            raise Busy(Path("/srv/a.git/gtfs/lock"), 7, is_node=holder != "command")
        return "here"


@pytest.mark.parametrize(
    ("holders", "found", "asked"),
    [
        ([None], "here", 1),
        (["answers"], "node's", 1),
        (["node", "node", "answers"], "node's", 3),  # it had begun
        (["node", "node", None], "here", 3),  # it was ending
        (["node", None, "answers"], "here", 2),
    ],
)
def test_a_node_that_begins_or_ends_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, holders: list[str | None], found: str, asked: int
) -> None:
    monkeypatch.setattr(ask.time, "sleep", lambda _s: None)
    place = Place(*holders)
    assert by_node_or_here(place.by_node, place.here) == found
    assert len(place.did) == asked


def test_a_command_that_has_it_is_not_waited_for() -> None:
    place = Place("command", None)
    with pytest.raises(Busy):
        by_node_or_here(place.by_node, place.here)


def test_a_node_that_never_answers_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(ask.time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(ask.time, "sleep", slept.append)
    place = Place("node")
    with pytest.raises(Busy, match="process 7"):
        by_node_or_here(place.by_node, place.here, 3.0)
    assert 3.0 < sum(slept) < 4.0


def test_while_a_node_is_mute_its_lock_is_looked_at_and_nothing_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Lock(tmp_path / "lock", is_node=True)
    node.acquire()
    looks, tries = [], []

    def rest(s: float) -> None:
        looks.append(s)
        if len(looks) == 5:
            node.release()

    def here() -> str:
        tries.append(len(looks))
        with Lock(tmp_path / "lock"):
            return "here"

    monkeypatch.setattr(ask.time, "sleep", rest)
    assert by_node_or_here(lambda: None, here) == "here"
    assert tries == [0, 5]
