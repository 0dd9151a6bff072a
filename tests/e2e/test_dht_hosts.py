# SPDX-License-Identifier: GPL-3.0-or-later
"""The DHT between hosts that listen everywhere, as nodes do when nobody says otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from hosts import Host, hosts
from house import House
from waiting import wait_for

PORT = 7000
# Asks a node on another host for peers, 200 times in a row: its arguments are our address and the other.
MUCH = """
import sys, trio
from gtfs.swarm.krpc import open_krpc
async def main():
    async with open_krpc([sys.argv[1]]) as krpc:
        for number in range(200):
            target = number.to_bytes(20, "big")
            await krpc.ask((sys.argv[2], int(sys.argv[3])), b"get_peers", {b"info_hash": target})
trio.run(main)
"""


def route(host: Host) -> None:
    """Without a way to others libtorrent holds its network for a local one, and has no DHT node there."""
    host.run("ip", "route", "add", "default", "dev", "eth0")


def test_a_publisher_who_names_nobody_is_found_by_his_key_also_by_who_asked_him_much(house: House, pub: Path) -> None:
    with hosts(house, "main", "desk") as (main, desk):
        route(main)
        route(desk)
        address = house.gtfs("keys", pub).out.strip()
        house.gtfs("publish", pub)
        with main.gtfs_here():
            seed = house.mount(pub, "A", f"listen=0.0.0.0:{PORT},[::]:{PORT}".replace(",", "\\,"), "nolsd", "nopex")
        wait_for(lambda: seed.fresh_status()["pointer"]["nodes"], "the pointer was put")
        python = Path(shutil.which("gtfs") or "").with_name("python")
        desk.run(python, "-c", MUCH, desk.address, main.address, PORT)
        said = ("gtfs.keyring", house.key.public), ("gtfs.option", f"nolsd,nopex,dht_node={main.address}:{PORT}")
        words = [word for name, value in said for word in ("-c", f"{name}={value}")]
        desk.type("git", *words, "clone", "--quiet", f"gtfs::{address}", house.root / "clone")
        assert house.git(house.root / "clone", "rev-parse", "HEAD") == house.git(pub, "rev-parse", "main")
