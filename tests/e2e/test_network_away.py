# SPDX-License-Identifier: GPL-3.0-or-later
"""The days when the network is gone: peers that stop or vanish under a read, and a process that is suspended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from house import House, Mount, open_files
from waiting import WAIT_S, wait_for


def check_answers(house: House, b: Mount, waiting: subprocess.Popen[bytes], packs: int) -> None:
    """Everything that needs no network is answered, by processes of their own, while the read goes on waiting."""
    assert len(house.run(["ls", "-f", b.dir]).out.split()) == packs + 2
    assert len(house.run(["ls", "-l", b.dir]).out.splitlines()) == packs + 1
    house.run(["stat", *sorted(b.dir.glob("*.pack"))[:5]])
    house.run(["df", b.dir])
    house.run(["du", "-s", b.dir])
    assert '"running": true' in house.run(["cat", b.dir / ".gtfs" / "status"]).out
    house.run(["ls", "-lR", b.dir / ".gtfs"])
    assert waiting.poll() is None, waiting.communicate()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def a(house: House, pub: Path) -> Mount:
    return house.mount(pub, "A")


def reading(house: House, mount: Mount, oid: str) -> subprocess.Popen[bytes]:
    """A program that prints a checksum of a pack that is not here."""
    return house.start(["sha256sum", mount.pack(oid)], uses_mount=True)


def sum_of(mount: Mount, oid: str) -> bytes:
    return subprocess.run(["sha256sum", mount.pack(oid)], capture_output=True, check=True).stdout.split()[0]


def is_waiting(process: subprocess.Popen[bytes], path: Path) -> bool:
    return str(path) in open_files(process.pid)


def test_a_peer_that_is_suspended_under_a_read_delivers_when_it_is_resumed(house: House, a: Mount) -> None:
    b = house.mount_mirror(a, "B", "read_timeout=10m")
    b.wait_listed()
    oid, other = (house.git(a.repository, "rev-parse", name) for name in ("main~20", "v1.0~2"))
    wanted = sum_of(a, oid)
    packs = len(a.packs())
    with stopped(a.pid):
        reader = reading(house, b, oid)
        wait_for(lambda: is_waiting(reader, b.pack(oid)), "it reads")
        check_answers(house, b, reader, packs)
        # Another one is killed while it waits.
        killed = reading(house, b, other)
        wait_for(lambda: is_waiting(killed, b.pack(other)), "it reads")
        killed.kill()
        killed.communicate(timeout=WAIT_S)
        check_answers(house, b, reader, packs)
    assert reader.communicate(timeout=WAIT_S)[0].split()[0] == wanted
    assert sum_of(b, other) == sum_of(a, other)


def test_a_mirror_that_is_suspended_under_a_read_goes_on(house: House, a: Mount) -> None:
    b = house.mount_mirror(a, "B", "read_timeout=10m")
    b.wait_listed()
    oid = house.git(a.repository, "rev-parse", "main~20")
    with stopped(a.pid):
        reader = reading(house, b, oid)
        wait_for(lambda: is_waiting(reader, b.pack(oid)), "it reads")
        with stopped(b.pid):
            assert reader.poll() is None
        check_answers(house, b, reader, len(b.packs()))
    assert reader.communicate(timeout=WAIT_S)[0].split()[0] == sum_of(a, oid)


def test_a_read_outlives_its_peer_when_the_peer_comes_back(house: House, a: Mount) -> None:
    b = house.mount_mirror(a, "B", "read_timeout=10m")
    b.wait_listed()
    oid = house.git(a.repository, "rev-parse", "main~20")
    wanted = sum_of(a, oid)
    os.kill(a.pid, signal.SIGSTOP)
    reader = reading(house, b, oid)
    wait_for(lambda: is_waiting(reader, b.pack(oid)), "it reads")
    a.kill()
    check_answers(house, b, reader, len(b.packs()))
    directory = house.root / "A"
    house.gtfs("mount", a.repository, directory, "-o", f"listen=127.0.0.1:{a.port},logfile={house.root / 'A2.log'}")
    house.adopt(directory, a.repository, a.port, house.root / "A2.log")
    assert reader.communicate(timeout=WAIT_S)[0].split()[0] == wanted


def test_a_read_whose_peer_vanished_ends_at_its_deadline_and_offline_at_once(house: House, a: Mount) -> None:
    b = house.mount_mirror(a, "B", "read_timeout=5")
    b.wait_listed()
    oid = house.git(a.repository, "rev-parse", "main~20")
    os.kill(a.pid, signal.SIGSTOP)
    reader = reading(house, b, oid)
    # It may be over already: then it waited for one that was suspended.
    wait_for(lambda: is_waiting(reader, b.pack(oid)) or reader.poll() is not None, "it reads")
    a.kill()
    _, err = reader.communicate(timeout=WAIT_S)
    assert reader.returncode == 1 and b"Connection timed out" in err
    assert len(b.packs()) > 60
    b.unmount()
    b = house.mount_mirror(a, "B", "offline")
    with pytest.raises(OSError) as caught:
        b.pack(oid).read_bytes()
    assert caught.value.errno == errno.ENODATA
    assert b.status()["swarm"]["port"] is None
