# SPDX-License-Identifier: GPL-3.0-or-later
"""A booted systemd: this machine's own files below an overlay, in a container of systemd-nspawn without a network."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from house import ROOT

PROGRAM = "/usr/bin/gtfs"
_BOOT_S = 300
_TARGET = """[Unit]
Requires=basic.target dbus.service
After=basic.target
AllowIsolate=yes
"""
_DRIVER = """[Unit]
Requires=basic.target dbus.service
After=basic.target dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash /driver
StandardOutput=file:/said
StandardError=inherit
"""
_BEGIN = """set -eEu
trap 'journalctl --sync; journalctl --quiet --unit="gtfs*" --lines=50' ERR
"""


class Machine:
    """One that is not booted yet: ``tree`` is its root, in which the units and a gtfs are installed."""

    def __init__(self, tree: Path, programs: Path, fuse: Path) -> None:
        self.tree = tree
        self._fuse = fuse
        self._venv = programs.parent

    def run(self, script: str) -> str:
        """Boot, run a script of bash in it as root, power off; gives all that the script said.

        It fails with what was said if a command of the script failed.
        """
        (self.tree / "driver").write_text(_BEGIN + script + "\necho '== well'\n")
        arguments = [
            "systemd-nspawn", "--quiet", f"--directory={self.tree}", "--boot", "--register=no", "--keep-unit",
            "--private-network", f"--machine=gtfs{os.getpid()}", f"--bind={self._fuse}:/dev/fuse",
            "--property=DeviceAllow=/dev/fuse rw",
            f"--bind-ro={self._venv}:/opt/gtfs", f"--bind-ro={sysconfig.get_path('purelib')}:/opt/needed",
            "systemd.unit=gtfs-boot.target",
        ]  # fmt: skip
        done = subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_BOOT_S)
        path = self.tree / "said"
        said = path.read_text() if path.exists() else f"it did not boot:\n{done.stdout}{done.stderr}"
        assert said.endswith("== well\n"), said
        return said


@contextmanager
def machine(directory: Path, programs: Path) -> Iterator[Machine]:
    """A machine whose files go with the context."""
    assert shutil.which("systemd-nspawn"), "this test needs systemd-nspawn (package systemd-container)"
    tree, changed = directory / "tree", directory / "changed"
    with ExitStack() as stack:
        for path in (tree, changed):
            path.mkdir(parents=True)
        _mount(stack, changed, "-t", "tmpfs", "tmpfs")
        (changed / "upper").mkdir()
        (changed / "work").mkdir()
        fuse = changed / "fuse"  # everybody's, as udev makes it: this machine's own may be root's
        os.mknod(fuse, stat.S_IFCHR, os.makedev(10, 229))
        fuse.chmod(0o666)
        layers = f"lowerdir=/,upperdir={changed / 'upper'},workdir={changed / 'work'}"
        _mount(stack, tree, "-t", "overlay", "overlay", "-o", layers)
        units = tree / "etc" / "systemd" / "system"
        (units / "gtfs-boot.target").write_text(_TARGET.replace("[Unit]", "[Unit]\nWants=gtfs-driver.service"))
        (units / "gtfs-driver.service").write_text(_DRIVER)
        program = tree / PROGRAM.removeprefix("/")
        program.unlink(missing_ok=True)
        program.write_text('#!/bin/sh\nPYTHONPATH=/opt/needed exec /opt/gtfs/bin/python -m gtfs.cli.main "$@"\n')
        program.chmod(0o755)
        for name in ("gtfs", "needed"):
            (tree / "opt" / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["sh", ROOT / "contrib" / "system", PROGRAM, tree], check=True)
        for parent in (programs / "python").resolve().parents:  # pyenv's are in a home
            there = tree / str(parent).removeprefix("/")
            there.chmod(there.stat().st_mode | 0o111)
        yield Machine(tree, programs, fuse)


def _mount(stack: ExitStack, place: Path, *words: str) -> None:
    subprocess.run(["mount", *words, place], check=True)
    stack.callback(subprocess.run, ["umount", "--lazy", place], check=True)
