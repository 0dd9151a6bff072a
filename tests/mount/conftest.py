# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake mount as a process, always unmounted and ended again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from waiting import WAIT_S, wait_for, wait_readable

FAKEFS = Path(__file__).with_name("fakefs.py")


@dataclass
class FakeMount:
    dir: Path
    state: Path
    process: subprocess.Popen[bytes]
    log: Path

    def status(self) -> Any:
        return json.loads((self.dir / ".gtfs" / "status").read_bytes())

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(condition, lambda: f"{what}; log:\n{self.log.read_text()}")

    def state_of(self, name: str) -> str:
        return os.getxattr(self.dir / name, "user.gtfs.state").decode()

    def wait_verified(self, name: str) -> None:
        self.wait(lambda: self.state_of(name) == "verified", f"{name} verified")

    def unmount(self) -> int:
        subprocess.run(["fusermount3", "-u", str(self.dir)], check=True, timeout=WAIT_S)
        return self.process.wait(WAIT_S)


@pytest.fixture
def fake_mount(tmp_path: Path) -> Iterator[Callable[..., FakeMount]]:
    assert os.path.exists("/dev/fuse"), "tests/mount needs FUSE (CONTRIBUTING.md)"
    mounts: list[FakeMount] = []

    def start(options: str = "", *, many: int = 0, late: bool = False, name: str = "m") -> FakeMount:
        directory, state, log = tmp_path / name, tmp_path / f"{name}.state", tmp_path / f"{name}.log"
        directory.mkdir(exist_ok=True)
        state.mkdir(exist_ok=True)
        command = [
            sys.executable,
            str(FAKEFS),
            str(directory),
            str(state),
            "-o",
            options,
            "--many",
            str(many),
            *(["--late"] if late else []),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with log.open("ab") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        mount = FakeMount(directory, state, process, log)
        mounts.append(mount)
        assert process.stdout is not None
        wait_readable(process.stdout.fileno(), f"the fake stands; see {log}")
        assert process.stdout.readline() == b"mounted\n", log.read_text()
        return mount

    yield start
    for mount in mounts:
        if mount.process.poll() is None:
            for how in ("-u", "-uz"):
                if subprocess.run(["fusermount3", how, str(mount.dir)], capture_output=True).returncode == 0:
                    break
            try:
                mount.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                mount.process.kill()
                mount.process.wait(WAIT_S)
                subprocess.run(["fusermount3", "-uz", str(mount.dir)], capture_output=True)
                pytest.fail(f"the mount did not end; log:\n{mount.log.read_text()}")
        assert mount.process.stdout is not None
        mount.process.stdout.close()
        text = mount.log.read_text()
        assert "Traceback" not in text or "KeyError: 'bug'" in text, text
