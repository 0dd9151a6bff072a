# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs status`` of several: one whose disk does not answer hides no other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gtfs.cli import status
from gtfs.overview.health import RepositoryHealth, Thresholds


@pytest.mark.parametrize("hanging", [1, 20])
def test_one_whose_disk_does_not_answer_hides_no_other(monkeypatch: pytest.MonkeyPatch, hanging: int) -> None:
    answers = threading.Event()

    def judge(_: Thresholds, target: Path, name: str | None) -> RepositoryHealth:
        if target.name.startswith("hangs"):
            answers.wait()
        return RepositoryHealth(name or str(target), "fresh")

    monkeypatch.setattr(status, "_judge", judge)
    monkeypatch.setattr(status, "_STUCK_S", 0.3)
    names = [*(f"hangs{n}" for n in range(hanging)), *"ab"]
    try:
        judged = status._judge_all([Path(f"/srv/{name}") for name in names], Thresholds(), names)
    finally:
        answers.set()
    assert [one.name for one in judged] == names
    assert [(one.standing, *one.trouble) for one in judged] == [
        *[("unreachable", "its disk did not answer within 0 s")] * hanging,
        *[("fresh",)] * 2,
    ]


def test_many_that_hang_are_waited_for_a_few_times_and_not_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, waited = threading.Event(), []

    class Slots(threading.Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            has_one = super().acquire(blocking, timeout)
            waited.append(not has_one)
            return has_one

    monkeypatch.setattr(threading, "Semaphore", Slots)
    monkeypatch.setattr(status, "_judge", lambda *_: answers.wait())
    monkeypatch.setattr(status, "_STUCK_S", 0.1)
    try:
        judged = status._judge_all([Path(f"/srv/{n}") for n in range(3 * status._AT_ONCE)], Thresholds())
    finally:
        answers.set()
    assert {one.standing for one in judged} == {"unreachable"}
    assert sum(waited) == 2


def test_a_fault_as_one_is_judged_is_told_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        raise KeyError("oid")

    monkeypatch.setattr(status, "_judge", judge)
    with pytest.raises(KeyError):
        status._judge_all([Path("/a")], Thresholds())
