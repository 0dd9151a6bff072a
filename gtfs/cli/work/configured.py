# SPDX-License-Identifier: GPL-3.0-or-later
"""What gtfs.conf(5) and its drop-ins say, for every command that acts on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gtfs.cli.nodeoptions import TABLE, check_own, check_process
from gtfs.daemon.conf import Configuration, OptionsCheck, read_configuration
from gtfs.daemon.places import Places, find_places
from gtfs.mount.options import escape_value, split_options
from gtfs.swarm.options import SwarmOptions, on_any_port

CHECK: Final = OptionsCheck(check_process, check_own)

_ITS_PORT: Final = frozenset({"port", "port_mapping"})


def configured(config: Path | None = None) -> tuple[Places, Configuration]:
    """Where this user's daemon has its files, and what they say; raises `BadSettings`, OSError.

    ``config`` is another ``gtfs.conf``.
    """
    places = find_places(os.environ, is_root=os.geteuid() == 0, config=config)
    return places, read_configuration(places, CHECK)


def swarm_defaults() -> list[str]:
    """How [defaults] would have a process meet the swarm, as words of ``-o``: on a port of its own, as the daemon
    listens on its. Raises `BadSettings`, OSError."""
    words = []
    for name, value in split_options(",".join(configured()[1].options)):
        option = TABLE.get(name)
        if option is None or option.of is not SwarmOptions or name in _ITS_PORT:
            continue
        if name == "listen" and value is not None:
            value = on_any_port(value)
        words.append(name if value is None else f"{name}={escape_value(value)}")
    return words
