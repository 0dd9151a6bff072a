# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gtfs status`` tells people, from what a node answers."""

from __future__ import annotations

from typing import Any

from gtfs.cli.status import _quorum_lines


def quorum(ref: str, useless: dict[str, str]) -> dict[str, Any]:
    return {"ref": ref, "needed": 2, "have": ["A"], "missing": ["B", "C"], "useless": useless}


def test_an_attester_whose_word_does_not_count_is_not_told_as_one_that_would() -> None:
    ((key, line),) = _quorum_lines([quorum("refs/tags/1", {})])
    assert (key, line) == ("quorum", "refs/tags/1: 1 of 2 sign-offs, by A; 2 more would count")
    both = _quorum_lines([quorum("refs/tags/1", {"B": "signed two packs"}), quorum("refs/tags/2", {"C": "is old"})])
    ((_, line),) = both
    assert line.startswith("2 refs, refs/tags/1 first: 1 of 2 sign-offs, by A; 1 more would count, and what 1 said")
