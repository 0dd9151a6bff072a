# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest

from gtfs.catalogue.accept import FromFuture, NotSigned
from gtfs.errors import GtfsError
from gtfs.node import refusals as module
from gtfs.node.refusals import Refusals
from gtfs.trust.gpgv import GpgvFailed

pytestmark = pytest.mark.warns

FEED = "https://example.org/latest.asc"


@pytest.fixture
def state():
    return SimpleNamespace(held=SimpleNamespace(digest="1"), keyring=SimpleNamespace(digest=b"1"))


def is_judged(refusals: Refusals, document: bytes = b"document", feed: str = FEED) -> bool:
    try:
        refusals.check(feed, document)
    except GtfsError:
        return False
    return True


def test_the_same_refused_bytes_are_not_judged_again(state):
    refusals = Refusals(state)
    assert is_judged(refusals)
    error = NotSigned("nobody")
    refusals.note(FEED, b"document", error)
    for _ in range(3):
        with pytest.raises(NotSigned) as caught:
            refusals.check(FEED, b"document")
        assert caught.value is error
    assert is_judged(refusals, b"other") and is_judged(refusals, feed="another")


def test_they_are_when_what_judged_them_has_changed(state, monkeypatch):
    refusals = Refusals(state)
    for change in (
        lambda: setattr(state.held, "digest", "2"),
        lambda: setattr(state, "keyring", None),
        lambda: setattr(state, "held", None),
        refusals.judge_again,
        lambda: monkeypatch.setattr(module, "AGAIN_S", 0),
    ):
        refusals.note(FEED, b"document", NotSigned("nobody"))
        assert not is_judged(refusals)
        change()
        assert is_judged(refusals)


@pytest.mark.parametrize("error", [FromFuture("tomorrow"), GpgvFailed("no gpgv")])
def test_a_refusal_that_passes_by_itself_is_not_remembered(state, error):
    refusals = Refusals(state)
    refusals.note(FEED, b"document", error)
    assert is_judged(refusals)
