# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of contrib/recipes: what its README.md says is typed, and what its ``try`` has typed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from waiting import WAIT_S

RECIPES = Path(__file__).parents[2] / "contrib" / "recipes"
NAMES = sorted(path.name for path in RECIPES.iterdir() if path.is_dir())
WAY_BACK = "The way back"  # a section that a recipe may have, too
TYPED_IN = ("Publisher, once", "Mirror, once", "Per change")
TYPED = re.compile(r"^([a-z0-9]+)[$#] (.*)$")


def said(name: str) -> list[tuple[str, str, str]]:
    """Section, who and command of each line with a prompt in a fence."""
    found, section, fenced = [], "", False
    for line in (RECIPES / name / "README.md").read_text().replace("\\\n", "").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith("## "):
            section = line[3:]
        elif fenced:
            typed = TYPED.match(line)
            assert typed, f"{name}/README.md has in a fence what nobody types: {line}"
            found.append((section, typed[1], typed[2]))
    return found


def how_many(name: str) -> tuple[int, ...]:
    """Commands in each section."""
    sections = [section for section, _, _ in said(name)]
    assert set(sections) <= {*TYPED_IN, WAY_BACK}
    return tuple(sections.count(section) for section in TYPED_IN)


def environment(programs: Path, days: Sequence[str] = ()) -> dict[str, str]:
    """For a ``try`` that has these bad days."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "GTFS_RECIPES_SHOTS")}
    ours = {"GTFS_BIN": str(programs), "GTFS_RECIPES_WAIT": str(WAIT_S), "GTFS_RECIPES_BAD_DAYS": " ".join(days)}
    return {**kept, **ours}


def known_days() -> set[str]:
    """The bad days that there are."""
    return set(re.findall(r"^day_(\w+)\(\)", (RECIPES / "bad-days.sh").read_text(), re.MULTILINE))


def play(name: str, programs: Path, days: Sequence[str] = ()) -> str:
    """What ``try`` prints; it must end well, and leave nothing behind."""
    before = set(Path("/tmp").glob(f"gtfs-{name}.*"))
    done = subprocess.run(
        ["sh", RECIPES / name / "try"], env=environment(programs, days), capture_output=True, text=True,
        timeout=4 * WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(Path("/tmp").glob(f"gtfs-{name}.*")) <= before
    return done.stdout


def as_said(who: str) -> str:
    """What each mirror types stands once in README.md."""
    return re.sub(r"^mirror[12]$", "mirror", who)


def typed_in(out: str) -> set[tuple[str, str]]:
    """Who typed what."""
    found = [match for line in out.splitlines() if (match := TYPED.match(line))]
    return {(as_said(match[1]), match[2]) for match in found}
