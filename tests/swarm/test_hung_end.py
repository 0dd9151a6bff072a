# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon of which one node hangs, with all threads there are, goes on with the others, and ends once they have."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from waiting import WAIT_S

PROGRAM = """
import sys, threading
from pathlib import Path
import trio
from gtfs.cli.work import ending, seed
from gtfs.daemon import hungthreads
from gtfs.daemon.places import Places
from gtfs.daemon.roster import Roster

async def run(roster, member):
    threads = trio.to_thread.current_default_thread_limiter()
    member.progress = "running"
    async with trio.open_nursery() as nursery:
        if member.wanted.name == "hangs":
            for _ in range(int(threads.total_tokens)):
                nursery.start_soon(trio.to_thread.run_sync, threading.Event().wait)
        else:
            while threads.available_tokens:
                await trio.sleep(0.01)
        await trio.to_thread.run_sync(int)
        member.tried.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
                print("ended", member.wanted.name, flush=True)

ending.END_S, hungthreads.HANGS_S, hungthreads.EVERY_S = 2.0, 0.2, 0.1
Roster._run = run
place = Path(sys.argv[1])
seed.run_configured(
    Places(place / "gtfs.conf", place / "data", place / "run"), ["nodht", "nolsd", "listen=127.0.0.1:0"], is_needed=True
)
"""


def test_a_node_that_hangs_holds_up_no_other_and_ends_with_the_process_which_fails_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "gtfs.conf").write_text(
        f'[repository "hangs"]\npath = {tmp_path}/hangs.git\n[repository "good"]\npath = {tmp_path}/good.git\n'
    )
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("seeding 0 reels of ") for line in process.stdout)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 7, out
    assert "ended good" in out
    assert "hangs: not ended after 2 s" in out
