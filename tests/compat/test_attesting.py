# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attester says of itself, without network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import DAY_S
from mirrored import fetch, take_catalogue
from onefile import Publisher

from gtfs.repo.repository import Repository
from gtfs.state.attest import attest, make_attester
from gtfs.state.state import State


@pytest.fixture
def attester(tmp_path: Path, mirror: Repository) -> Iterator[State]:
    """A mirror that has all of a catalogue, and says so by its own key."""
    publisher = Publisher(tmp_path)
    with State(publisher.repository) as origin, State(mirror) as state:
        publisher.publish(origin)
        assert origin.held is not None
        take_catalogue(state, origin.held)
        fetch(state, origin)
        make_attester(state, None, None, None)
        yield state


def test_what_was_said_by_a_clock_that_was_ahead_is_said_anew(attester: State, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + 10 * DAY_S)
        early, is_new = attest(attester)
        assert is_new and attest(attester) == (early, False)
    said, is_new = attest(attester)
    assert is_new and said.date_s <= real() < early.date_s and said.refs == early.refs
    assert attest(attester) == (said, False)
