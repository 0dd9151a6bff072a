# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for the network, and what must not wait with it: other requests, signals, and the end of the reader."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakefs import make_pack
from waiting import WAIT_S

SLOW = make_pack(b"slow remote")[0].hex()
PACK = f"{SLOW}.pack"

READ = "import os, sys; os.read(os.open(sys.argv[1], 0), 10)"
RANDOM = "import os, sys; f = os.open(sys.argv[1], 0); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_RANDOM); os.read(f, 9)"
MAPPED = "import mmap, sys; f = open(sys.argv[1], 'rb'); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[0]"
THREAD = (
    "import os, signal, sys, threading; signal.signal(signal.SIGINT, signal.SIG_DFL); f = os.open(sys.argv[1], 0); "
    "t = threading.Thread(target=os.read, args=(f, 9)); t.start(); t.join()"
)
READERS = {
    "cat": ["cat"],
    "O_DIRECT": ["sh", "-c", 'exec dd if="$1" iflag=direct status=none', "dd"],
    "no read-ahead": [sys.executable, "-c", RANDOM],
    "mmap": [sys.executable, "-c", MAPPED],
    "a thread": [sys.executable, "-c", THREAD],
    "a handler of its own": [sys.executable, "-c", READ],
}


def reads(m) -> int:
    return sum(oid == SLOW for oid, *_ in m.status()["reads"])


@contextlib.contextmanager
def reader(m, command: list[str], path: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose read waits."""
    before = reads(m)
    process = subprocess.Popen([*command, path or m.dir / PACK], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        m.wait(lambda: reads(m) > before, "the waiting read")
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)


def check_alive(m) -> None:
    """Everything that needs no network is answered."""
    assert len(os.listdir(m.dir)) == 6
    assert os.stat(m.dir / PACK).st_size == len(make_pack(b"slow remote")[1])
    assert os.statvfs(m.dir).f_blocks
    assert m.status()["packs"] == 6
    assert (m.dir / make_pack(b"old")[0].hex()).with_suffix(".pack").read_bytes() == make_pack(b"old")[1]
    (m.dir / "file").write_bytes(b"x")
    os.rename(m.dir / "file", m.dir / "other")
    os.unlink(m.dir / "other")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("name", READERS)
def test_a_killed_reader_dies_and_the_mount_goes_on(fake_mount, name, number):
    m = fake_mount("read_timeout=1h")
    for _ in range(2):  # the second finds a page that could not be read, for which the kernel asks in another way
        with reader(m, READERS[name]) as process:
            check_alive(m)
            process.send_signal(number)
            assert process.wait(WAIT_S) != 0
        check_alive(m)
    assert m.unmount() == 0


def test_a_reader_of_a_torrent_that_is_made_on_look_up_can_be_killed(fake_mount):
    m = fake_mount("read_timeout=1h")
    with reader(m, ["cat"], m.dir / ".gtfs" / "slow") as process:
        check_alive(m)
        process.kill()
        process.wait(WAIT_S)
    check_alive(m)


def test_a_child_goes_on_reading_when_the_opener_is_gone(fake_mount, tmp_path):
    m = fake_mount("read_timeout=1h")
    script = f'exec 3<"$1"; cat <&3 & echo $! >{tmp_path}/pid'
    subprocess.run(["sh", "-c", script, "sh", m.dir / PACK], check=True, timeout=WAIT_S, stderr=subprocess.DEVNULL)
    m.wait(lambda: reads(m) == 1, "the waiting read")
    pid = int((tmp_path / "pid").read_text())
    time.sleep(1)  # that nothing happens cannot be waited for
    assert Path(f"/proc/{pid}/wchan").exists() and reads(m) == 1
    os.kill(pid, signal.SIGKILL)


def test_other_signals_and_other_processes_interrupt_no_read(fake_mount):
    m = fake_mount("read_timeout=1h")
    trap = f"import signal; signal.signal(signal.SIGUSR1, print); signal.signal(signal.SIGTERM, signal.SIG_IGN); {READ}"
    with reader(m, [sys.executable, "-c", trap]) as process, reader(m, READERS["O_DIRECT"]) as other:
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        other.kill()
        other.wait(WAIT_S)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
        process.wait(WAIT_S)


@pytest.mark.parametrize("name", ["cat", "O_DIRECT", "no read-ahead", "mmap"])
def test_a_read_waits_once_for_the_timeout(fake_mount, name):
    # A second try of the kernel's would double the wait, and could not be killed.
    m = fake_mount("read_timeout=0.5")
    done = subprocess.run([*READERS[name], m.dir / PACK], capture_output=True, text=True, timeout=WAIT_S)
    assert "Connection timed out" in done.stderr or done.returncode == -signal.SIGBUS
    assert reads(m) == 1


def test_the_next_open_tries_again(fake_mount):
    m = fake_mount("read_timeout=0.3")
    for n in (1, 2):
        with pytest.raises(OSError) as caught:
            (m.dir / PACK).read_bytes()
        assert caught.value.errno == errno.ETIMEDOUT
        assert reads(m) == n


def test_a_hundred_waiting_readers_leave_the_rest_alone_and_end_with_the_unmount(fake_mount):
    m = fake_mount("read_timeout=1h")
    errors: list[int | None] = []

    def read() -> None:
        try:
            fd = os.open(m.dir / PACK, os.O_RDONLY)
            try:
                os.read(fd, 10)
            finally:
                os.close(fd)
        except OSError as error:
            errors.append(error.errno)

    threads = [threading.Thread(target=read) for _ in range(100)]
    for thread in threads:
        thread.start()
    m.wait(lambda: reads(m) > 0, "the waiting reads")
    check_alive(m)
    subprocess.run(["fusermount3", "-uz", m.dir], check=True, timeout=WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)
    assert len(errors) == 100 and m.process.wait(WAIT_S) == 0


def test_a_stopped_daemon_goes_on_where_it_was(fake_mount):
    m = fake_mount("read_timeout=1h")
    with reader(m, ["cat"]) as waiting:
        m.process.send_signal(signal.SIGSTOP)
        listing = subprocess.Popen(["ls", m.dir], stdout=subprocess.PIPE)
        time.sleep(0.5)  # nothing can be waited for: nobody answers
        assert listing.poll() is None
        m.process.send_signal(signal.SIGCONT)
        assert len(listing.communicate(timeout=WAIT_S)[0].split()) == 6
        check_alive(m)
        assert waiting.poll() is None
    assert m.unmount() == 0
