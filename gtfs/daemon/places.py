# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a daemon's settings, state and socket lie (gtfs.conf(5), FILES). Paths only: nothing is made; any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAME: Final = "gtfs"
_CONFIG_NAME: Final = "gtfs.conf"


@dataclass(frozen=True)
class Places:
    """One daemon's: ``config`` and its drop-ins, what it keeps below ``data``, its socket in ``runtime``."""

    config: Path
    data: Path
    runtime: Path

    @property
    def drop_ins(self) -> Path:
        """The directory whose ``*.conf`` are read after ``config``, by name."""
        return self.config.with_name(self.config.name + ".d")

    @property
    def control(self) -> Path:
        """The socket that ``gtfs seed add`` and ``gtfs status`` ask."""
        return self.runtime / "control"

    @property
    def lock(self) -> Path:
        """Held by the one daemon that runs on this state."""
        return self.data / "lock"

    @property
    def added(self) -> Path:
        """The repositories that ``gtfs seed add`` named."""
        return self.data / "added.json"

    @property
    def collections(self) -> Path:
        """A directory for each collection that is followed: what was accepted of it last."""
        return self.data / "collections"

    def collection(self, name: str) -> Path:
        """That of one collection."""
        return self.collections / name

    @property
    def mirrors(self) -> Path:
        """Where new mirrors are made if nothing else is said."""
        return self.data / "mirrors"


def find_places(environ: Mapping[str, str], *, is_root: bool, config: Path | None = None) -> Places:
    """Those of this user: systemd's word first, then the system's directories for root, the XDG ones for others.

    ``config`` is another ``gtfs.conf``, of ``--config``; its state is where it is without.
    """
    home = Path(environ.get("HOME") or "/")

    def xdg(variable: str, otherwise: Path) -> Path:
        said = Path(environ.get(variable) or "")
        return (said if said.is_absolute() else otherwise) / _NAME  # a relative one is to be ignored, says XDG

    data = xdg("XDG_DATA_HOME", Path(home, ".local/share")) if not is_root else Path("/var/lib") / _NAME
    # Without a session there is no XDG_RUNTIME_DIR: the socket lies beside the state, which is its owner's alone.
    runtime = Path("/run") / _NAME if is_root else xdg("XDG_RUNTIME_DIR", data)
    settings = Path("/etc") / _NAME if is_root else xdg("XDG_CONFIG_HOME", Path(home, ".config"))
    settings = _first(environ.get("CONFIGURATION_DIRECTORY")) or settings
    return Places(
        config=(config or settings / _CONFIG_NAME).absolute(),
        data=_first(environ.get("STATE_DIRECTORY")) or data,
        runtime=_first(environ.get("RUNTIME_DIRECTORY")) or runtime,
    )


def _first(directories: str | None) -> Path | None:
    """Of those that systemd names, separated by colons."""
    return Path(directories.split(":")[0]) if directories else None
