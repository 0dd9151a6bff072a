# SPDX-License-Identifier: GPL-3.0-or-later
"""mount(8) and fstab, for real: it looks for helpers in /sbin and runs them with sh's own PATH, whatever ours is.

So each test gets a mount namespace of its own in which the helper stands in /usr/sbin, and reaches the mount through
the node's /proc/PID/root.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import Done, House
from waiting import wait_for

Run = Callable[..., Done]


@pytest.fixture(params=["mount.fuse.gtfs", "gtfs"])
def in_namespace(house: House, programs: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a command where /usr/sbin also has the helper: as ``mount.fuse.gtfs``, or as the ``gtfs`` that mount.fuse
    runs."""
    sbin = house.root / "sbin"
    work = house.root / "work"
    sbin.mkdir()
    work.mkdir()
    helper = sbin / request.param
    helper.write_text(f'#!/bin/sh\nexec {programs / request.param} "$@"\n')
    helper.chmod(0o755)
    overlay = f"mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir={sbin},workdir={work} /usr/sbin"

    def run(*command: object, code: int | None = 0) -> Done:
        # A mount that this namespace has a copy of would not end with its own umount.
        others = "for place in $(awk '$3 ~ /^fuse/ { print $2 }' /proc/mounts); do umount -l $place; done"
        script = f'{others}; {overlay} && exec "$@"'
        unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]
        return house.run(unshare, code=code)

    yield run


class Node:
    """A node in the namespace, ended with the test."""

    def __init__(self, repository: Path, directory: Path) -> None:
        self.pid = int((repository / "gtfs" / "lock").read_text().split()[0])
        self.directory = directory
        self.seen = Path(f"/proc/{self.pid}/root{directory}")

    def mount_line(self) -> str | None:
        lines = Path(f"/proc/{self.pid}/mounts").read_text().splitlines()
        return next((line for line in lines if f" {self.directory} " in line), None)

    def umount(self) -> None:
        subprocess.run(["nsenter", f"--target={self.pid}", "--mount", "umount", self.directory], check=True)
        wait_for(lambda: not Path(f"/proc/{self.pid}/root").exists(), "the node ended after umount(8)")


def test_mount_8_mounts_and_umount_8_ends_the_node(house: House, pub: Path, in_namespace: Run) -> None:
    directory, log = house.root / "A", house.root / "A.log"
    directory.mkdir()
    options = f"rw,_netdev,noauto,x-systemd.automount,user,nolsd,listen=127.0.0.1:0,logfile={log}"
    done = in_namespace("mount", "-t", "fuse.gtfs", pub, directory, "-o", options)
    assert done.out + done.err == ""
    node = Node(pub, directory)
    try:
        assert {p.name.removesuffix(".pack") for p in node.seen.iterdir()} == set(house.history(pub))
        assert (node.mount_line() or "").startswith(f"{pub} {directory} fuse.gtfs rw,")
    finally:
        node.umount()
    assert all(" INFO gtfs.events: " in line for line in log.read_text().splitlines())


def test_a_line_of_fstab_mounts_a_mirror(house: House, pub: Path, in_namespace: Run) -> None:
    a = house.mount(pub, "A")
    directory, log, mirror = house.root / "B", house.root / "B.log", house.root / "B.git"
    directory.mkdir()
    source = (pub / "gtfs" / "catalogue" / "latest.asc").as_uri()
    options = ["ro", "_netdev", "nofail", f"repo={mirror}", f"logfile={log}", *house.mirror_options(a)]
    options.append("listen=127.0.0.1:0")
    fstab = house.root / "fstab"
    fstab.write_text(f"{source} {directory} fuse.gtfs {','.join(options)} 0 0\n")
    in_namespace("mount", "--fstab", fstab, directory)
    house.keep_sound(mirror)
    node = Node(mirror, directory)
    try:
        oid = house.git(pub, "rev-parse", "v1.0~3")
        assert (node.seen / f"{oid}.pack").read_bytes() == a.pack(oid).read_bytes()
        assert (node.mount_line() or "").startswith(f"{source} {directory} fuse.gtfs ro,")
        with pytest.raises(OSError, match="Read-only"):
            (node.seen / "x").write_bytes(b"x")
    finally:
        node.umount()
    assert all(" INFO gtfs.events: " in line for line in log.read_text().splitlines())


def test_mount_8_ends_with_one_line_and_the_exit_code(house: House, pub: Path, in_namespace: Run) -> None:
    directory, full = house.root / "m", house.root / "full"
    directory.mkdir()
    full.mkdir()
    (full / "file").write_text("in the way")

    def refused(source: object, place: Path, options: str = "rw") -> tuple[int, str]:
        done = in_namespace("mount", "-t", "fuse.gtfs", source, place, "-o", options, code=None)
        return done.code, done.line

    code, line = refused("/nonexistent/repo.git", directory)
    assert code == 3 and "/nonexistent/repo.git does not exist" in line
    code, line = refused(pub, full)
    assert code == 7 and "is not empty" in line
    code, line = refused(pub, directory, "remount,ro")
    assert code == 2 and "unmount it, and mount it anew" in line
    code, line = refused(pub, directory, "rw,nonsense=1")
    assert code == 2 and "unknown mount option 'nonsense=1'" in line


def test_a_context_that_the_kernel_refuses_is_named(house: House, pub: Path) -> None:
    directory = house.root / "m"
    directory.mkdir()
    done = house.gtfs("mount", pub, directory, "-o", "offline,context=nonsense", code=7)  # with SELinux, too
    assert done.line.endswith("(context: only a kernel with SELinux takes that, and only from root)")


def test_a_copy_of_the_mount_in_another_namespace_does_not_keep_the_node(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    # As containers and sandboxed services have one.
    holder = house.start(["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"])
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"\n"
    assert f" {a.dir} " in Path(f"/proc/{holder.pid}/mountinfo").read_text()
    a.unmount()
    a = house.mount(pub, "A", "offline")
    with a.pack(house.history(pub)[0]).open("rb") as kept:
        house.gtfs("umount", "--lazy", a.dir)
        assert kept.read()[:4] == b"PACK"  # what is open stays usable
        assert a.alive()
    wait_for(lambda: not a.alive(), "the node ended with the last file")
    a.ended = True
