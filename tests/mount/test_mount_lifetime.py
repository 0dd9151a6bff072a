# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounting where it cannot be, into the background, and what is left of a mount whose process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import fakefs as program
from waiting import WAIT_S, wait_for

from gtfs.mount import options

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def fakefs(mountpoint: Path, tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "state").mkdir(exist_ok=True)
    command = [sys.executable, program.__file__, str(mountpoint), str(tmp_path / "state"), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, env=ENV)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_missing_mount_point_is_one_clear_line(tmp_path):
    done = fakefs(tmp_path / "none", tmp_path)
    assert done.returncode == 7 and "does not exist: make it with mkdir" in one_line(done)


def test_a_file_as_mount_point_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    done = fakefs(tmp_path / "file", tmp_path)
    assert done.returncode == 7 and "is not a directory" in one_line(done)


def test_a_used_mount_point_is_one_clear_line(tmp_path):
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    done = fakefs(tmp_path / "dir", tmp_path)
    assert done.returncode == 7 and "is not empty" in one_line(done)


def test_mounting_twice_is_one_clear_line(fake_mount, tmp_path):
    m = fake_mount()
    done = fakefs(m.dir, tmp_path)
    assert done.returncode == 7 and "is already mounted (fuse.gtfs)" in one_line(done)
    assert len(os.listdir(m.dir)) == 6


def test_a_dead_mount_is_told_how_to_be_removed(fake_mount, tmp_path):
    m = fake_mount()
    m.process.kill()
    m.process.wait(WAIT_S)
    done = fakefs(m.dir, tmp_path)
    assert done.returncode == 7 and f"run fusermount3 -u {m.dir}" in one_line(done)
    subprocess.run(["fusermount3", "-u", str(m.dir)], check=True)
    done = fakefs(tmp_path / "none", tmp_path, "-o", "nonsense=1")
    assert done.returncode == 2 and "unknown mount option 'nonsense=1'; there are: allow_other" in one_line(done)


def test_libfuses_own_reason_reaches_the_user(tmp_path):
    mountpoint = tmp_path / "dir"
    mountpoint.mkdir()
    script = (
        "import trio, pyfuse3\nfrom pathlib import Path\nfrom gtfs.mount.lifetime import _mount\n"
        "from gtfs.mount.options import MountOptions\n"
        f"_mount(pyfuse3.Operations(), Path({str(mountpoint)!r}), MountOptions(kernel=('no_such_flag',)), 'x')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, env=ENV)
    assert "MountpointError: cannot mount on" in done.stderr and "no_such_flag" in done.stderr


def test_libfuse_takes_what_is_handed_on_to_the_kernel(tmp_path):
    mountpoint = tmp_path / "dir"
    mountpoint.mkdir()
    script = (
        "import pyfuse3\nfrom pathlib import Path\n"
        "from gtfs.mount import options\nfrom gtfs.mount.lifetime import _mount\n"
        "wanted = options.MountOptions(kernel=tuple(options._KERNEL))\n"
        f"_mount(pyfuse3.Operations(), Path({str(mountpoint)!r}), wanted, 'x')\n"
        "print(Path('/proc/self/mounts').read_text())\npyfuse3.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, env=ENV)
    assert done.returncode == 0, done.stderr
    [shown] = [{*line.split()[3].split(",")} for line in done.stdout.splitlines() if str(mountpoint) in line]
    assert shown >= options._KERNEL


def test_a_daemon_returns_when_the_mount_stands_and_ends_with_it(tmp_path):
    mountpoint = tmp_path / "dir"
    mountpoint.mkdir()
    done = fakefs(mountpoint, tmp_path, "--daemon")
    try:
        assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "", "")
        assert len(os.listdir(mountpoint)) == 6
        pid = int((tmp_path / "state" / "pid").read_text())
        assert os.getsid(pid) == pid and os.readlink(f"/proc/{pid}/cwd") == "/"
    finally:
        subprocess.run(["fusermount3", "-u", str(mountpoint)], check=True)
    wait_for(lambda: has_ended(pid), "the daemon ended")
    assert "ended by unmount" in (tmp_path / "state" / "log").read_text()


def has_ended(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_daemon_that_cannot_mount_says_why_with_its_exit_code(tmp_path):
    done = fakefs(tmp_path / "none", tmp_path, "--daemon")
    assert done.returncode == 7 and "does not exist" in done.stderr.splitlines()[-1]


def test_a_daemon_killed_before_the_mount_stands_is_told(tmp_path):
    script = """
import os, signal
from gtfs.mount.daemon import *
daemon = daemonize()
if isinstance(daemon, Daemon):
    os.kill(os.getpid(), signal.SIGKILL)
print(daemon)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, env=ENV)
    assert "exit_code=1" in done.stdout and f"by signal {signal.SIGKILL.value}" in done.stdout


def test_a_signal_in_the_moment_of_mounting_leaves_no_dead_mount(tmp_path):
    mountpoint = tmp_path / "dir"
    mountpoint.mkdir()
    (tmp_path / "state").mkdir()
    script = (
        "import os, signal, sys, pyfuse3, fakefs\n"
        "init = pyfuse3.init\n"
        "def init_and_signal(*args):\n    init(*args)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "pyfuse3.init = init_and_signal\n"
        f"sys.argv = ['fakefs', {str(mountpoint)!r}, {str(tmp_path / 'state')!r}]\n"
        "sys.exit(fakefs.main())"
    )
    env = {**ENV, "PYTHONPATH": f"{ENV['PYTHONPATH']}:{Path(program.__file__).parent}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, env=env)
    assert done.returncode == 0 and "ended by SIGTERM" in done.stderr, done
    assert f" {mountpoint} " not in Path("/proc/self/mountinfo").read_text()
