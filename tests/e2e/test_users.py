# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts of ordinary users by fstab, and what other users may do there.

In a mount namespace with an fstab, a fuse.conf and a helper of its own, where everybody can reach Python and the test's
directory. Two users of every Debian system play the parts: nobody mounts, daemon is somebody else.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOT, Done, House
from waiting import wait_for

HELPER = """#!/bin/sh
HOME={home} exec {programs}/mount.fuse.gtfs "$@"
"""


def hidden_by(path: Path) -> Path | None:
    """The topmost directory above ``path`` that others may not search."""
    above = [p for p in reversed(path.parents) if not p.stat().st_mode & 0o001]
    return above[0] if above else None


def script(house: House, programs: Path) -> str:
    """What the namespace needs, in shell."""
    needed = (sys.prefix, sys.base_prefix, programs.parent, ROOT, house.root)
    wanted = list(dict.fromkeys(Path(p).resolve() for p in needed))
    stage = house.root / "stage"
    lines = ["set -e", f"mkdir -p {stage}"]
    hidden = {p: h for p in wanted if (h := hidden_by(p)) is not None}
    for n, path in enumerate(hidden):
        lines += [f"mkdir {stage}/{n}", f"mount --bind {path} {stage}/{n}"]
    # Opened before they are covered: the stage lies below one of them.
    lines += [f"exec {n + 3}<{stage}/{n}" for n in range(len(hidden))]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {top}" for top in dict.fromkeys(hidden.values())]
    for n, path in enumerate(hidden):
        lines += [f"mkdir -p {path}", f"mount --bind /proc/self/fd/{n + 3} {path}"]
    lines += [
        f"cd {house.root}",
        "mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir=$PWD/sbin,workdir=$PWD/work /usr/sbin",
        f"mount --bind {house.root}/fstab /etc/fstab",
        f"mount --bind {house.root}/fuse.conf /etc/fuse.conf",
        f"mkdir {house.root}/dev",
        f"mount -t tmpfs tmpfs {house.root}/dev",
        f"mknod -m 666 {house.root}/dev/fuse c 10 229",
        f"mount --bind {house.root}/dev/fuse /dev/fuse",
        "echo ready",
        "exec sleep 1000",
    ]
    return "\n".join(lines)


class Users:
    """The namespace and who acts in it."""

    def __init__(self, house: House, pub: Path, programs: Path) -> None:
        self.house = house
        self.home = house.root / "nobody"
        self.home.mkdir()
        self.repository = self.home / "pub.git"
        shutil.copytree(pub, self.repository, symlinks=True)
        self.dir = self.home / "m"
        self.dir.mkdir()
        self.log = self.home / "log"
        self.fstab = house.root / "fstab"
        self.conf = house.root / "fuse.conf"
        for path in (self.fstab, self.conf):
            path.write_text("")
        helper = house.root / "sbin" / "mount.fuse.gtfs"
        helper.parent.mkdir()
        (house.root / "work").mkdir()
        helper.write_text(HELPER.format(home=self.home, programs=programs))
        helper.chmod(0o755)
        subprocess.run(["chown", "-R", "nobody:nogroup", self.home], check=True)
        house.root.chmod(0o755)
        self.holder = house.start(["unshare", "--mount", "sh", "-c", script(house, programs)])
        assert self.holder.stdout is not None
        said = self.holder.stdout.readline()
        assert said == b"ready\n", self.holder.communicate()

    def write_fstab(self, options: str) -> None:
        self.fstab.write_text(f"{self.repository} {self.dir} fuse.gtfs {options},offline,logfile={self.log} 0 0\n")

    def run(self, user: str, *command: object, code: int | None = 0) -> Done:
        """As this user, without a privilege, in the namespace."""
        who = pwd.getpwnam(user)
        become = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]
        enter = ["nsenter", f"--target={self.holder.pid}", "--mount", "--"]
        return self.house.run([*enter, *become, *command], code=code, env={"HOME": str(self.home)})

    def gtfs(self, user: str, *words: object, code: int | None = 0) -> Done:
        return self.run(user, "gtfs", *words, code=code)

    def pid(self) -> int:
        return int((self.repository / "gtfs" / "lock").read_text().split()[0])

    def mount_line(self) -> str:
        lines = Path(f"/proc/{self.holder.pid}/mounts").read_text().splitlines()
        return next((line for line in lines if f" {self.dir} " in line), "")

    def wait_ended(self) -> None:
        wait_for(lambda: not Path(f"/proc/{self.pid()}/exe").exists(), "the node ended")
        assert self.mount_line() == ""


@pytest.fixture
def users(house: House, pub: Path, programs: Path) -> Iterator[Users]:
    made = Users(house, pub, programs)
    yield made
    if made.mount_line():
        made.run("nobody", "fusermount3", "-uz", made.dir, code=None)
        made.wait_ended()
    said = made.log.read_text() if made.log.exists() else ""
    assert all(" INFO gtfs.events: " in line for line in said.splitlines())
    house.forgive(made.repository)


def test_a_user_mounts_and_unmounts_a_line_of_fstab(users: Users) -> None:
    users.write_fstab("user,noauto,_netdev,x-systemd.automount")
    done = users.run("nobody", "mount", users.dir)
    assert done.out + done.err == ""
    assert "fuse.gtfs" in users.mount_line() and f"user_id={pwd.getpwnam('nobody').pw_uid}," in users.mount_line()
    assert {"nosuid", "nodev", "noexec"} <= set(users.mount_line().split()[3].split(","))
    names = users.run("nobody", "ls", users.dir).out.split()
    assert len(names) > 60
    users.run("nobody", "sha256sum", users.dir / names[0])
    users.run("nobody", "sh", "-c", 'echo unfinished >"$0" && rm "$0"', users.dir / "mine")
    # Nobody else, not even root, gets in.
    for other in ("daemon", "root"):
        assert "Permission denied" in users.run(other, "ls", users.dir, code=2).err
    done = users.run("nobody", "umount", users.dir)
    assert done.out + done.err == ""
    users.wait_ended()
    users.run("nobody", "mount", users.dir)
    done = users.gtfs("nobody", "umount", users.dir)
    assert done.out + done.err == ""
    users.wait_ended()


def test_a_user_takes_his_dead_mount_away(users: Users) -> None:
    users.write_fstab("user,noauto")
    users.run("nobody", "mount", users.dir)
    os.kill(users.pid(), 9)
    wait_for(lambda: "not connected" in users.run("nobody", "ls", users.dir, code=None).err, "it is dead")
    assert "detached the dead mount" in users.gtfs("nobody", "umount", users.dir).line
    assert users.mount_line() == ""
    users.run("nobody", "mount", users.dir)
    users.gtfs("nobody", "umount", users.dir)
    users.wait_ended()


def test_allow_other_is_the_administrators_to_grant(users: Users) -> None:
    users.write_fstab("user,noauto,allow_other")
    done = users.run("nobody", "mount", users.dir, code=7)
    assert "set user_allow_other in /etc/fuse.conf" in done.err
    users.conf.write_text("user_allow_other\n")
    users.run("nobody", "mount", users.dir)
    assert "allow_other" in users.mount_line()
    users.gtfs("nobody", "umount", users.dir)
    users.wait_ended()


@pytest.mark.parametrize("options", ["allow_other", "allow_other,default_permissions"])
def test_with_allow_other_others_read_and_do_not_write(users: Users, options: str) -> None:
    users.conf.write_text("user_allow_other\n")
    users.write_fstab(f"user,noauto,{options}")
    users.run("nobody", "mount", users.dir)
    mine, secret = users.dir / "mine", users.dir / "secret"
    users.run("nobody", "sh", "-c", 'echo text >"$0"; umask 077; echo text >"$1"', mine, secret)
    names = users.run("daemon", "ls", users.dir).out.split()
    pack = users.dir / next(name for name in names if name.endswith(".pack"))
    assert users.run("daemon", "sha256sum", pack).out == users.run("nobody", "sha256sum", pack).out
    users.run("daemon", "cat", users.dir / ".gtfs" / "status")
    assert users.run("daemon", "cat", mine).out == "text\n"

    def denied(*command: object, said: str = "Permission denied") -> None:
        done = users.run("daemon", *command, code=None)
        assert done.code and (said in done.err or "Operation not permitted" in done.err), (command, done)

    denied("cat", secret)
    for target in (mine, secret, pack, users.dir / "new", users.dir / ".gtfs" / "status"):
        denied("sh", "-c", 'echo x >>"$0"', target)
    for target in (mine, secret, pack):
        denied("rm", "-f", target)
        denied("mv", "-f", target, users.dir / "other")
        denied("truncate", "-s0", target)
        denied("chmod", "777", target)
        denied("touch", target)
        denied("chown", "daemon", target)
        denied("ln", target, users.dir / "other")
    denied("mkdir", users.dir / "directory")
    denied("ln", "-s", "x", users.dir / "link")
    assert users.run("daemon", "test", "-w", mine, code=None).code == 1
    assert users.run("daemon", "test", "-r", mine, code=None).code == 0
    # Root writes, as everywhere; and the owner still has what he had.
    users.run("root", "sh", "-c", 'echo more >>"$0"', mine)
    assert users.run("nobody", "cat", mine).out == "text\nmore\n"
    users.run("nobody", "rm", mine, secret)
    assert "cannot unmount" in users.gtfs("daemon", "umount", users.dir, code=7).line
    users.gtfs("nobody", "umount", users.dir)
    users.wait_ended()


def test_another_user_hears_who_publishes(users: Users) -> None:
    trusted = users.home / ".gitconfig"
    trusted.write_text("[safe]\n\tdirectory = *\n")
    trusted.chmod(0o644)
    for words in (["publish"], ["publish", "--dry-run"], ["status"], ["init"]):
        line = users.gtfs("daemon", *words, users.repository, code=3).line
        assert "belongs to nobody, not to you; run gtfs as that user" in line
    # A push by another user never fails by it.
    line = users.gtfs("daemon", "publish", "--pushed", users.repository).line
    assert "pushed; what is published of" in line and "is nobody's" in line
    trusted.unlink()
    assert "run gtfs as its owner" in users.gtfs("daemon", "publish", users.repository, code=3).line
    assert "run gtfs as its owner" in users.gtfs("daemon", "publish", "--pushed", users.repository).line
