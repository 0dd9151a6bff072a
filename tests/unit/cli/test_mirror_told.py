# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mirror`` of a collection that is configured already: the daemon hears of it if it has not yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gtfs.cli.work import mirror
from gtfs.cli.work.mirrorplan import MirrorPlan
from gtfs.daemon.conf import Configuration
from gtfs.daemon.mirrored import ConfiguredMirror
from gtfs.daemon.places import Places


@pytest.mark.parametrize(("followed", "asked"), [(["c"], ["list"]), (["x"], ["list", "reread"])])
def test_a_daemon_that_was_never_told_of_it_is_told_by_the_next(
    monkeypatch: pytest.MonkeyPatch, followed: list[str], asked: list[str]
) -> None:
    heard: list[str] = []

    def ask(_: object, request: dict[str, Any]) -> dict[str, Any]:
        heard.append(request["do"])
        return {"collections": [{"name": name} for name in followed]}

    monkeypatch.setattr(mirror, "ask_daemon", ask)
    given = {"push_url": None, "worktrees": (), "options": (), "keyrings": (), "signers": ()}
    before = ConfiguredMirror("c", "https://h/collection.asc", Path("/m"), (), "collection c", is_collection=True)
    plan = MirrorPlan(
        given, before.source, "c", None, before, None, Places(Path("/g.conf"), Path("/d"), Path("/r")),
        Configuration(mirrors=Path("/m")), is_running=True, unit=None, how=None, is_ours=True,
    )  # fmt: skip
    assert mirror._run_collection(plan)["new"] is False
    assert heard == asked
