# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks on which a program dies or fails at a chosen step (disk.c)."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

from house import House


class Disk:
    """That of one test. ``mode`` is what happens at the step: cut, kill or fail."""

    def __init__(self, house: House, library: Path, mode: str) -> None:
        self._house = house
        self._mode = mode
        self._library = Path(shutil.copy(library, house.root / "disk.so"))
        self._at, self._steps = (self._library.with_name(f"disk.so.{what}") for what in ("at", "steps"))

    def at(self, step: int, number: int = 0) -> dict[str, str]:
        """The environment of what is to meet a step, 0 for none; steps are counted from now on."""
        self._steps.write_bytes(b"")
        self.arm(step, number)
        return {"LD_PRELOAD": str(self._library)}

    def arm(self, step: int, number: int = 0) -> None:
        """The same for programs that run: the step may be any after `steps`."""
        new = self._at.with_suffix(".new")
        new.write_text(f"{self._mode} {step} {number}\n")
        new.rename(self._at)

    def steps(self) -> int:
        """How many there have been since `at`."""
        return self._steps.stat().st_size

    def count(self, *words: Any) -> int:
        """How many steps a command takes."""
        self._house.gtfs(*words, env=self.at(0))
        return self.steps()

    def ends(self, step: int, *words: Any) -> bool:
        """Run gtfs until it dies there; False if it came to its end before."""
        done = self._house.gtfs(*words, code=None, env=self.at(step))
        assert done.code in (0, -signal.SIGKILL), done
        return done.code != 0
