# SPDX-License-Identifier: GPL-3.0-or-later
"""The first publish of a history against `git repack -adf` of it; for contrib/bench/publish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from measure import GTFS, MB, Times, clone, peer_environment, ratio, table
from memory import Memory

from gtfs.repo.repository import open_repository


class Used(NamedTuple):
    """What a program and all its descendants took."""

    seconds: float
    cpu_s: float
    peak_bytes: int


def run(command: Sequence[str | Path], environment: dict[str, str]) -> Used:
    """A program to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    with Memory(process.pid) as memory:
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Used(time.perf_counter() - start, used.ru_utime + used.ru_stime, memory.peak)


def publish_first(path: Path, into: Path, home: Path, key: str, runs: int) -> None:
    """Print what it takes, as Markdown."""
    source = open_repository(path)
    seconds, cpu = (Times(), Times()), (Times(), Times())
    peaks = []
    reel_bytes = 0
    for number in range(runs):
        print(f"run {number + 1} of {runs}", file=sys.stderr)
        copy = clone(source, into / "repacked.git").path
        git = run(["git", f"--git-dir={copy}", "repack", "-adfq", "--no-write-bitmap-index"], peer_environment())
        shutil.rmtree(copy)
        copy = clone(source, into / "published.git").path
        environment = dict(os.environ)
        run([*GTFS, "init", copy, "--sign-key", key, "--gnupg-home", home], environment)
        gtfs = run([*GTFS, "publish", copy], environment)
        reel_bytes = sum(reel.stat().st_size for reel in (copy / "gtfs" / "reels").glob("*.reel"))
        shutil.rmtree(copy)
        for times, cpus, used in zip(seconds, cpu, (gtfs, git), strict=True):
            times.seconds.append(used.seconds)
            cpus.seconds.append(used.cpu_s)
        peaks.append(gtfs.peak_bytes)
    table(
        [f"first publish of {source.path.name}, {runs} runs", "gtfs publish", "git repack -adf", "÷ git repack"],
        [
            ["time", seconds[0].seconds_text(), seconds[1].seconds_text(), ratio(*seconds)],
            ["processor time", cpu[0].seconds_text(), cpu[1].seconds_text(), ratio(*cpu)],
            ["all processes at most, MiB of PSS", f"{max(peaks) / (1 << 20):.0f}", "", ""],
            ["reels, MB", f"{reel_bytes / MB:.1f}", "", ""],
        ],
    )
