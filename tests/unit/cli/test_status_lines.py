# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gtfs status`` and ``gtfs trust`` tell people, from what a node answers."""

from __future__ import annotations

from typing import Any

import pytest

from gtfs.cli.status import _quorum_lines
from gtfs.cli.trust import _show_added


def quorum(ref: str, useless: dict[str, str]) -> dict[str, Any]:
    return {"ref": ref, "needed": 2, "have": ["A"], "missing": ["B", "C"], "useless": useless}


def test_an_attester_whose_word_does_not_count_is_not_told_as_one_that_would() -> None:
    ((key, line),) = _quorum_lines([quorum("refs/tags/1", {})])
    assert (key, line) == ("quorum", "refs/tags/1: 1 of 2 sign-offs, by A; 2 more would count")
    both = _quorum_lines([quorum("refs/tags/1", {"B": "signed two packs"}), quorum("refs/tags/2", {"C": "is old"})])
    ((_, line),) = both
    assert line.startswith("2 refs, refs/tags/1 first: 1 of 2 sign-offs, by A; 1 more would count, and what 1 said")


def test_a_keyring_of_a_thousand_does_not_drown_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    taken = [{"was": "new", "fingerprint": f"{n:040X}", "user_ids": ["somebody"]} for n in range(1000)]
    _show_added({"taken": taken, "left_out": [], "first": True, "keys": 1000, "digest": "d"}, False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 43 and lines[40] == "and 960 more: gtfs trust REPO list"
    assert lines[41].startswith("this is the first keyring here")
    assert lines[42].startswith("1000 keys new or changed, 0 as they were; the ring has 1000")
