# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's unit of systemd, ``gtfs-seed.service``: the system's for root, a user's own for everybody else."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.daemon.places import Places, find_places
from gtfs.errors import Blame, GtfsError

UNIT: Final = "gtfs-seed.service"
_BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
_LINGER: Final = Path("/var/lib/systemd/linger")
_ANSWER_S: Final = 20
_START_S: Final = 600  # a daemon has started when it can be asked, and has all the time that it wants for it


class NotStarted(GtfsError):
    """systemd could not start the daemon."""

    fault = Blame.SYSTEM


@dataclass(frozen=True)
class Unit:
    """``command`` speaks to the manager that has it; ``uid`` is who runs the daemon."""

    command: tuple[str, ...]
    uid: int

    def how(self) -> str:
        """What a person types."""
        return f"{' '.join(self.command)} enable --now {UNIT.removesuffix('.service')}"

    def enable(self) -> None:
        """Have it run from now on; returns when it does. Raises `NotStarted`."""
        asked = [*self.command, "enable", "--now", UNIT]
        try:
            done = subprocess.run(asked, capture_output=True, timeout=_START_S, check=False)
        except OSError as error:
            raise NotStarted(f"{self.how()}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            late = f"it is not seeding yet after {_START_S} s, and goes on starting if it can"
            raise NotStarted(f"{self.how()}: {late}; see journalctl {self._journal()}-u {UNIT}") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise NotStarted(f"{self.how()}: {said[0]}; see journalctl {self._journal()}-u {UNIT}")

    def lasts(self) -> str | None:
        """What is to be typed for it to run while its user is logged out; None if nothing is."""
        if self.uid == 0 or "--user" not in self.command:
            return None
        name = getpass.getuser()
        is_known = not _LINGER.parent.is_dir() or Path(_LINGER, name).exists()
        return None if is_known else f"it ends when you log out, unless: loginctl enable-linger {name}"

    def _journal(self) -> str:
        return "--user " if "--user" in self.command else ""


def find_unit(places: Places, environ: Mapping[str, str]) -> Unit | None:
    """The one whose daemon has these places; None where systemd does not run, or has no such unit."""
    is_root = os.geteuid() == 0
    usual = {key: value for key, value in environ.items() if key == "HOME" or key.startswith("XDG_")}
    if not _BOOTED.is_dir() or places != find_places(usual, is_root=is_root):
        return None
    command = ("systemctl",) if is_root else ("systemctl", "--user")
    asked = [*command, "show", "--property=LoadState,User", UNIT]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode or said.get("LoadState") != "loaded":
        return None
    try:
        uid = pwd.getpwnam(said["User"]).pw_uid if said.get("User") and is_root else os.geteuid()
    except KeyError:  # sysusers.d was not acted on yet
        return None
    return Unit(command, uid)
