# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed`` in a test: nodes without a mount."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from house import House
from waiting import WAIT_S, wait_for


@dataclass
class Seeder:
    """A running ``gtfs seed``."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    line: str

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)


def seed(house: House, *repositories: Any, options: str = "") -> Seeder:
    """Start one and wait until it stands."""
    log = house.root / f"seed{len(list(house.root.glob('seed*.log')))}.log"
    words = ["seed", *repositories, "-o", ",".join(["listen=127.0.0.1:0", "nodht", "nolsd", *filter(None, [options])])]
    with log.open("wb") as out:
        process = house.start(["gtfs", *words], out=out)

    def line() -> str | None:
        assert process.poll() is None, log.read_text()
        found = re.search(r"^seeding .* on port (\d+)$", log.read_text(), re.MULTILINE)
        return found[0] if found else None

    said = wait_for(line, "gtfs seed is ready")
    return Seeder(process, log, int(said.rpartition(" ")[2]), said)


def sync_options(house: House, mirror: Path, *ports: int, more: str = "") -> str:
    """What a mirror without a mount is told."""
    peers = [f"peer=127.0.0.1:{port}" for port in ports]
    own = [f"repo={mirror}", f"keyring={house.key.public}", "listen=127.0.0.1:0", "nodht", "nolsd", *peers]
    return ",".join([*own, *filter(None, [more])])


def catalogue(repository: Path) -> Path:
    return repository / "gtfs" / "catalogue" / "latest.asc"
