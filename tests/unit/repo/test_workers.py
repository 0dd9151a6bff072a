# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers are copies of a process with one thread, and share nothing with it but what they were given."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import WAIT_S, wait_for

from gtfs.repo.processes import _open_files

_PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from gtfs.repo import processes
from gtfs.repo.work import Work

MADE_BEFORE = [None]

def look(number, stop_file):
    mine = os.stat(sys.argv[1]).st_ino
    is_shared = any(fd.exists() and fd.stat().st_ino == mine for fd in Path("/proc/self/fd").iterdir())
    return number, MADE_BEFORE[0], is_shared

def tell(number, stop_file):
    os.write(1, b"%d\\n" % os.getpid())  # whole, beside the other
    threading.Event().wait()

if __name__ == "__main__":
    mine = open(sys.argv[1], "w")
    MADE_BEFORE[0] = "here"
    signal.signal(signal.SIGTERM, lambda *_: None)  # is the parent's affair alone
    ends = threading.Event()
    if sys.argv[2] == "threads":
        threading.Thread(target=ends.wait).start()
    function = tell if sys.argv[2] == "wait" else look
    for found in processes.run_on_workers(function, ((n,) for n in range(6)), 2, Work(), Path(sys.argv[1] + ".d/stop")):
        print(*found, flush=True)
    mine.write("still open")
    mine.close()
    ends.set()
"""


@contextmanager
def _started(tmp_path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    program = tmp_path / "program.py"  # a file: what a fresh process loads
    program.write_text(_PROGRAM)
    command = [sys.executable, str(program), str(tmp_path / "mine"), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["alone", "threads"])
def test_a_process_with_one_thread_is_copied_and_keeps_its_files_to_itself(tmp_path: Path, how: str) -> None:
    with _started(tmp_path, how) as process:
        said, complaints = process.communicate(timeout=WAIT_S)
    assert (process.returncode, complaints) == (0, "")
    found = [line.split() for line in said.splitlines()]
    assert [int(number) for number, *_ in found] == list(range(6))  # in their order
    assert {made for _, made, *_ in found} == {"here" if how == "alone" else "None"}
    assert {shared for *_, shared in found} == {"False"}
    assert (tmp_path / "mine").read_text() == "still open"


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with _started(tmp_path, "wait") as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(_runs(pid) for pid in workers), "its workers have ended")


def test_ctrl_c_is_left_to_the_parent(tmp_path: Path) -> None:
    with _started(tmp_path, "wait") as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        ignored = [
            int(re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[0], 16) for pid in workers
        ]
        assert all(mask >> signal.SIGINT - 1 & 1 for mask in ignored)
        process.kill()
        wait_for(lambda: not any(_runs(pid) for pid in workers), "its workers have ended")


def test_what_is_listed_as_open_is() -> None:
    with Path(os.devnull).open() as mine:
        found = _open_files()
        assert mine.fileno() in found
        for fd in found:
            os.fstat(fd)  # raises where it is closed


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
