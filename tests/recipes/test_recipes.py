# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recipe is played by its ``try``, types what its README.md says, and no more than it may."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from recipe import (
    NAMES,
    RECIPES,
    TYPED_IN,
    WAY_BACK,
    as_said,
    environment,
    how_many,
    known_days,
    play,
    said,
    typed_in,
)
from waiting import WAIT_S, wait_for

# What a person types: the publisher once, a mirror once, both for a change. That is the goal, not a short script.
AT_MOST = {
    "push-pull": (1, 1, 2),
    "unattended-signing": (4, 1, 0),
    "shared-push": (7, 1, 2),
    "ikiwiki": (2, 2, 1),
    "bug-tracker": (2, 2, 1),
    "public-inbox": (3, 2, 0),
    "source-packages": (2, 1, 2),
    "deb-archive": (1, 2, 2),
}

# What goes wrong at the end of each one's life (contrib/recipes/bad-days.sh). Not where there is no such day: git
# refuses a forced push to what several share, a subkey without a passphrase is never locked, and where only a tag
# publishes by itself somebody sees that his key is.
BAD_DAYS = {
    "push-pull": (
        "publisher_away",
        "mirror_off",
        "hook_fails",
        "forced",
        "renamed",
        "two_write",
        "key_locked",
        "disk_full",
    ),
    "unattended-signing": ("publisher_away", "mirror_off", "two_write"),
    "shared-push": ("publisher_away", "mirror_off", "hook_fails", "renamed", "key_locked"),
    "ikiwiki": ("mirror_off", "hook_fails", "forced", "renamed", "disk_full"),
    "bug-tracker": ("publisher_away", "hook_fails", "forced"),
    "public-inbox": ("publisher_away", "mirror_off", "hook_fails", "forced", "key_locked"),
    "source-packages": ("publisher_away", "mirror_off", "forced", "two_write", "key_locked"),
    "deb-archive": ("publisher_away", "mirror_off", "forced", "disk_full"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_played_as_it_says_and_bad_days_do_it_no_harm(name: str, programs: Path) -> None:
    out = play(name, programs, BAD_DAYS[name])
    assert typed_in(out) == {(as_said(who), command) for _, who, command in said(name)}
    assert re.findall(r"^== A bad day: (\w+)$", out, re.MULTILINE) == [*BAD_DAYS[name]]


def test_every_bad_day_is_played_and_described() -> None:
    assert {day for days in BAD_DAYS.values() for day in days} == known_days()
    text = (RECIPES / "README.md").read_text()
    assert set(re.findall(r"`(\w+)` \|$", text, re.MULTILINE)) == known_days()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_a_page_of_one_screen(name: str) -> None:
    text = (RECIPES / name / "README.md").read_text()
    sections = [name for name in re.findall(r"^## (.*)$", text, re.MULTILINE) if name != WAY_BACK]
    assert sections == [*TYPED_IN, "What to know"]
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 130
    assert f"[{name}]({name})" in (RECIPES / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_asks_for_no_more_typing_than_it_may(name: str) -> None:
    found = how_many(name)
    assert all(typed <= allowed for typed, allowed in zip(found, AT_MOST[name], strict=True)), found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_a_recipe_finds_nothing_left(number: signal.Signals, programs: Path) -> None:
    process = subprocess.Popen(
        ["sh", RECIPES / "push-pull" / "try"], env=environment(programs), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    place = ""
    for line in process.stdout:
        if found := re.search(r"/tmp/gtfs-push-pull\.\w+", line):
            place = found[0]
        if line.startswith("mirror2$ gtfs"):  # three daemons and a web server run
            break
    assert place and started_in(place)
    os.killpg(process.pid, number)  # as a terminal does
    process.stdout.read()
    assert process.wait(WAIT_S) == 128 + number
    assert not Path(place).exists()
    # An agent of GnuPG that was told to end does so once whoever told it has hung up.
    wait_for(lambda: started_in(place) == [], lambda: f"all have ended: {started_in(place)}")


def started_in(place: str) -> list[str]:
    """Command lines of the processes whose home is there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"={place}/".encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended
            continue
    return found
