# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init --seed``: what is made a publisher's is seeded by the daemon from then on."""

from __future__ import annotations

import socket
from pathlib import Path

from daemons import Daemon
from house import House
from waiting import wait_for


def init(house: House, daemon: Daemon, repository: Path, *words: str, code: int = 0) -> str:
    key = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    done = daemon.gtfs("init", repository, *key, "--seed", *words, code=code)
    return done.out + done.err


def test_a_daemon_seeds_and_publishes_what_is_set_up_with_seed(house: House, fresh: Path) -> None:
    daemon = Daemon(house, "daemon")
    daemon.start()
    said = init(house, daemon, fresh, "--publish=auto")
    assert "the daemon seeds it as fresh, and publishes by itself" in said
    wait_for(lambda: (fresh / "gtfs" / "catalogue" / "latest.asc").exists(), daemon.log.read_text)
    assert daemon.members() == {"fresh": str(fresh)}
    assert "seeds it as fresh" in init(house, daemon, fresh)  # again: nothing is new
    assert daemon.members() == {"fresh": str(fresh)}
    daemon.end()
    daemon.start()
    assert daemon.members() == {"fresh": str(fresh)}
    daemon.end()
    house.keep_sound(fresh)


def test_without_a_daemon_all_else_is_done_and_the_way_on_is_said(house: House, fresh: Path) -> None:
    daemon = Daemon(house, "daemon")
    said = init(house, daemon, fresh, code=3)
    assert said == f"gtfs: {fresh} is set up, but no daemon runs: start gtfs seed; gtfs seed add {fresh}\n"
    house.gtfs("publish", fresh)
    house.keep_sound(fresh)


def test_a_daemon_ends_well_though_a_repository_is_still_waited_for(house: House) -> None:
    daemon = Daemon(house, "daemon")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/latest.asc"
        daemon.config.write_text(f'[repository "slow"]\n\tsource = {source}\n\toptions = keyring={house.key.public}\n')
        daemon.start()
        daemon.end()
