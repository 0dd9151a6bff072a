# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that tries again and again fills no log."""

from __future__ import annotations

import logging

import pytest

from gtfs.node.saidonce import SaidOnce


def test_the_same_error_is_logged_once_until_it_is_another_or_over(caplog: pytest.LogCaptureFixture) -> None:
    said = SaidOnce(logging.getLogger("said"))
    for what, error in [("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]:
        said.warn(what, ValueError(error))
    said.is_over("b")
    said.is_over("c")
    said.warn("b", "x")
    said.warn("b", "x")
    assert [r.getMessage() for r in caplog.records] == ["a: x", "b: x", "a: y", "a: x", "b: x"]
