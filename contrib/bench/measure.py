# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench scripts share: run times with their median and best, the machine in one line, a Markdown table, and
the peers that git provides.

Times on a shared machine vary by tens of percent: only ratios within one run mean anything, so each run measures
what it compares one after the other.
"""

from __future__ import annotations

import compileall
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import gtfs
from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository, git_environment, open_repository

MB = 1_000_000
# What is installed beside this Python: -m would take the sources of the working directory, which nobody compiled.
GTFS = [str(Path(sys.executable).with_name("gtfs"))]


class Times:
    """The seconds that one thing took in each run."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    @contextmanager
    def run(self) -> Iterator[None]:
        """Measure one run."""
        start = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    def rate(self, amount: float) -> str:
        """``amount`` a second: median, and the best in brackets."""
        return f"{amount / self.median:,.0f} ({amount / self.best:,.0f})"

    def seconds_text(self) -> str:
        """Median seconds, and the best in brackets."""
        return f"{self.median:.2f} s ({self.best:.2f})"


class Course:
    """How many packs were done when, from the moment it is made on."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._points = [(0, 0.0)]

    def at(self, packs: int) -> None:
        """So many are done by now."""
        if packs > self.total:
            self._points.append((packs, time.perf_counter() - self._start))

    @property
    def total(self) -> int:
        return self._points[-1][0]

    @property
    def rate(self) -> float:
        """Packs a second over all of it."""
        return self.total / self._points[-1][1]

    def rates(self, slices: int = 20) -> list[tuple[float, float]]:
        """Packs a second in each of so many equal slices of the whole, at the slice's middle."""
        size = self.total / slices
        times = [self._time_of(n * size) for n in range(slices + 1)]
        return [((n + 0.5) * size, size / (times[n + 1] - times[n])) for n in range(slices)]

    def growth(self, packs: int = 5000) -> float | None:
        """The time that the last so many packs took over that of the first; None of a course not twice as long."""
        if self.total < 2 * packs:
            return None
        return (self._time_of(self.total) - self._time_of(self.total - packs)) / self._time_of(packs)

    def _time_of(self, packs: float) -> float:
        """Seconds until so many were done, between two points on the straight line."""
        after = next(n for n, (done, _) in enumerate(self._points) if done >= packs)
        if not after:
            return 0.0
        (done0, at0), (done1, at1) = self._points[after - 1 : after + 1]
        return at0 + (at1 - at0) * (packs - done0) / (done1 - done0)


def ratio(over: Times, under: Times, scale: float = 1) -> str:
    """``scale`` times the one's time over the other's: the median of what each run gives, and the extremes."""
    found = sorted(scale * a / b for a, b in zip(over.seconds, under.seconds, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f}–{found[-1]:.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def machine() -> str:
    """Cores, CPU, load, python and git in one line; gtfs is compiled first, as what pip installs is."""
    compileall.compile_dir(Path(gtfs.__file__).parent, quiet=2)
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return (
        f"{cores()} cores, {model}, load {os.getloadavg()[0]:.1f} at the start;"
        f" Python {platform.python_version()}, git {git}"
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def peer_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the gits that are measured: that of gtfs's own, but without its hint about a graft file."""
    return {**git_environment(extra), "GIT_GRAFT_FILE": "/nonexistent"}


def pack_bytes(repository: Repository) -> int:
    """The bytes of the repository's pack files, without their indexes."""
    return sum(f.stat().st_size for f in (repository.objects / "pack").glob("*.pack"))


def clone(repository: Repository, into: Path) -> Repository:
    """A mirror clone that shares nothing with the original."""
    command = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--mirror", "--no-local"]
    subprocess.run(
        [*command, f"file://{repository.path}", into], env=peer_environment({"GIT_ALLOW_PROTOCOL": "file"}), check=True
    )
    return open_repository(into)


def repack(repository: Repository) -> Path:
    """Run git repack -adf and give the one pack."""
    # Neither a config's depth or window nor bitmaps: git's defaults.
    repository.git("repack", "-adfq", "--no-write-bitmap-index")
    (pack,) = (repository.objects / "pack").glob("*.pack")
    return pack


def sampled(oids: Sequence[ObjectId], count: int) -> list[ObjectId]:
    """At most ``count`` of them, evenly spread."""
    count = min(count, len(oids))
    return [oids[i * len(oids) // count] for i in range(count)]


def emptied(path: Path) -> Path:
    """The directory, empty."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
