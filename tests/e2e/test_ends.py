# SPDX-License-Identifier: GPL-3.0-or-later
"""How a mount ends, by itself or by force, and what the next command makes of a mount whose process was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from house import House, Mount, mounted_at, open_files
from waiting import WAIT_S, wait_for


def somebody_in(house: House, m: Mount) -> subprocess.Popen[bytes]:
    """A process whose working directory is on the mount."""
    process = house.start(["sh", "-c", 'cd "$0" && exec sleep 1000', m.dir], uses_mount=True)
    wait_for(lambda: os.readlink(f"/proc/{process.pid}/cwd") == str(m.dir), "it is there")
    return process


def test_the_next_mount_takes_a_dead_one_away_and_says_so(house: House, pub: Path) -> None:
    m = house.mount(pub, "A", "offline")
    packs = m.packs()
    held = somebody_in(house, m)
    m.kill_without_detaching()
    with pytest.raises(OSError, match="not connected"):
        m.names()
    m.ended = True
    log = house.root / "A2.log"
    done = house.gtfs("mount", pub, m.dir, "-o", f"offline,logfile={log}")
    assert done.line == f"gtfs: detached the dead mount on {m.dir}: its process was gone"
    again = house.adopt(m.dir, pub, 0, log)
    assert again.packs() == packs
    assert held.poll() is None
    again.unmount()
    assert m.dir.is_dir() and not mounted_at(m.dir)


def test_umount_takes_a_dead_mount_away_whoever_still_uses_it(house: House, pub: Path) -> None:
    m = house.mount(pub, "A", "offline")
    for lazy in ([], ["--lazy"]):
        user = somebody_in(house, m)
        m.kill_without_detaching()
        m.ended = True
        done = house.gtfs("umount", *lazy, m.dir)
        assert done.line == f"gtfs: detached the dead mount on {m.dir}: its process was gone"
        assert not mounted_at(m.dir) and user.poll() is None
        assert "is not mounted" in house.gtfs("umount", m.dir, code=7).line
        m = house.mount(pub, "A", "offline")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "-u", "-uz", "-uz while a file is open"])
def test_a_mount_ends_with_its_state_saved(house: House, pub: Path, how: str) -> None:
    m = house.mount(pub, "A", "offline")
    first = m.names()[0]
    user = house.start(["tail", "-f", m.dir / first], uses_mount=True) if "open" in how else None
    if user is not None:
        wait_for(lambda: str(m.dir / first) in open_files(user.pid), "it is open")
    if how.startswith("SIG"):
        os.kill(m.pid, signal.Signals[how])
    else:
        house.run(["fusermount3", how.split()[0], m.dir])
    wait_for(lambda: not m.is_mounted(), "it is unmounted")
    if user is not None:
        # Still read through the open file, and then the last one has gone.
        user.kill()
        user.wait()
    wait_for(lambda: not m.alive(), "the process has ended")
    m.ended = True
    assert all(" INFO gtfs.events: " in line for line in m.text().splitlines())
    assert os.listdir(m.dir) == []
    house.gtfs("fsck", pub)


def test_a_service_manager_is_told_when_the_mount_stands(house: House, pub: Path) -> None:
    directory = house.root / "m"
    directory.mkdir()
    address = str(house.root / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(WAIT_S)
        manager.bind(address)
        process = house.start(
            ["gtfs", "mount", "--foreground", pub, directory, "-o", "offline"], env={"NOTIFY_SOCKET": address}
        )
        assert manager.recv(4096).startswith(b"READY=1\n")
        assert mounted_at(directory) and len(os.listdir(directory)) > 60
        process.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1\n"
    assert process.communicate(timeout=WAIT_S) == (b"", b"") and process.returncode == 0
    assert not mounted_at(directory)
    # Nobody listens: no reason not to mount.
    process = house.start(
        ["gtfs", "mount", "--foreground", pub, directory, "-o", "offline"], env={"NOTIFY_SOCKET": address + "x"}
    )
    wait_for(lambda: mounted_at(directory), "it is mounted")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0
