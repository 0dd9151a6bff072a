# SPDX-License-Identifier: GPL-3.0-or-later
"""A gtfs command of which it is sampled where its processor time goes: PYTHON sampled.py OUT ARGUMENT…

Every 3 ms each thread's clock (pthread_getcpuclockid) is read, and what it has taken since is put down to the function
that it is in just then; one that lets the GIL go is seen more often than one that does not. So is what programs that
are running have taken. OUT becomes a JSON object: name to seconds. For contrib/bench/profile; any version of gtfs may
be under it.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import CodeType

EVERY_S = 0.003
TICKS = os.sysconf("SC_CLK_TCK")


def _programs() -> dict[tuple[int, str], float]:
    """Processor seconds of the programs that this process runs just now, and of what they waited for."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for pid in children:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
            except OSError:
                continue
            name = os.path.basename(words[0])
            if name == "git":
                name = "git " + next((w for w in words[1:] if not w.startswith("-") and "=" not in w), "")
            found[int(pid), name] = sum(map(int, ticks)) / TICKS
    return found


def _name(code: CodeType) -> str:
    if "importlib" in code.co_filename:
        return "imports"
    where = Path(code.co_filename)
    return f"{where.parent.name}/{where.name}: {code.co_name}"


class Sampler:
    """Of this process."""

    def __init__(self) -> None:
        self._functions: Counter[str] = Counter()
        self._programs: dict[tuple[int, str], float] = {}
        self._clocks: dict[int, float] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rounds = 0
        while not self._ends.wait(EVERY_S):
            rounds += 1
            if rounds % 4 == 0:
                self._programs.update(_programs())
            for thread, frame in sys._current_frames().items():
                try:
                    now = time.clock_gettime(time.pthread_getcpuclockid(thread))
                except OSError:
                    continue
                taken = now - self._clocks.get(thread, 0.0)
                self._clocks[thread] = now
                if thread != self._thread.ident and taken > 0:
                    self._functions[_name(frame.f_code)] += taken

    def end(self) -> dict[str, float]:
        """Seconds by function and program; under "" those of the process itself, without this sampler's."""
        self._ends.set()
        self._thread.join()
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = Counter(self._functions)
        known = 0.0
        for (_, name), taken in self._programs.items():
            seconds[name] += taken
            known += taken
        seconds["programs too short to be seen"] = children.ru_utime + children.ru_stime - known
        sampler = self._clocks.get(self._thread.ident or 0, 0.0)
        threads = own.ru_utime + own.ru_stime - sampler
        seconds["threads that are not Python's, and what was not seen"] = threads - sum(self._functions.values())
        seconds[""] = threads + children.ru_utime + children.ru_stime
        return dict(seconds)


def main() -> None:
    out, sys.argv = Path(sys.argv[1]), ["gtfs", *sys.argv[2:]]
    sampler = Sampler()
    atexit.register(lambda: out.write_text(json.dumps(sampler.end())))
    from gtfs.cli.main import main as gtfs

    sys.exit(gtfs())


if __name__ == "__main__":
    main()
