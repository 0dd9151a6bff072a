# SPDX-License-Identifier: GPL-3.0-or-later
"""How nodes find each other: trackers, DHT, PEX, LSD, web seeds, IPv6, and a catalogue by a gtfs: address.

Everything stays on this machine's loopback, or on that of a network of the test's own.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from finders import for_web_server, nginx, opentracker, own_network
from house import House, Mount
from ports import free_port
from waiting import wait_for

ALONE = ("nodht", "nopex")  # and nolsd, which every test has


def reel_status(mount: Mount) -> list[dict[str, Any]]:
    return list(mount.fresh_status()["swarm"]["reels"].values())


def peers(mount: Mount) -> int:
    return max((reel["peers"] for reel in reel_status(mount)), default=0)


def latest(repository: Path) -> Path:
    return repository / "gtfs" / "catalogue" / "latest.asc"


def mirror(house: House, name: str, source: Any, *options: str, **more: Any) -> Mount:
    """A mirror that is told of nobody but by its options."""
    return house.mount(source, name, *house.mirror_options(), *options, repository=house.root / f"{name}.git", **more)


def assert_whole(house: House, b: Mount, publisher: Path) -> None:
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(publisher)


def again(house: House, pub: Path, *words: Any) -> list[str]:
    """Change the publisher's settings and publish; gives the infohashes of its reels."""
    house.gtfs("init", pub, "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home, *words)
    return re.findall(r" infohash ([0-9a-f]{40}) ", house.gtfs("publish", "-v", pub).out)


@pytest.mark.parametrize("scheme", ["http", "udp"])
def test_an_opentracker_that_the_catalogue_names_brings_nodes_together(house: House, pub: Path, scheme: str) -> None:
    port = free_port()
    url = f"{scheme}://127.0.0.1:{port}/announce"
    infohashes = again(house, pub, "--tracker", url)
    with opentracker(house, port, infohashes):
        a = house.mount(pub, "A", *ALONE)
        wait_for(lambda: all(reel["trackers"] == {url: None} for reel in reel_status(a)), "the tracker answered")
        b = mirror(house, "B", latest(pub), *ALONE)
        assert_whole(house, b, pub)
        assert all(reel["trackers"][url] is None for reel in reel_status(b))
        a.unmount()
        b.unmount()


def test_three_nodes_find_each_other_in_the_dht(house: House, pub: Path) -> None:
    # The first knows nothing of the repository: it is where the others enter.
    entry = house.mount(house.empty("entry.git"), "E")
    by = ("nopex", f"dht_node=127.0.0.1:{entry.port}")
    house.mount(pub, "A", *by)
    b = mirror(house, "B", latest(pub), *by)
    assert_whole(house, b, pub)
    assert entry.fresh_status()["swarm"]["reels"] == {}


def test_two_mirrors_of_one_peer_learn_of_each_other(house: House, pub: Path) -> None:
    # Slow enough that both still want something when they hear of each other.
    a = house.mount(pub, "A", "nodht", "upload_rate=8K")
    told = ("nodht", f"peer=127.0.0.1:{a.port}", "prefetch")
    b, c = mirror(house, "B", latest(pub), *told), mirror(house, "C", latest(pub), *told)
    wait_for(lambda: peers(b) >= 2 and peers(c) >= 2, "peers told of each other")


def test_without_pex_they_do_not(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", *ALONE)
    told = (*ALONE, f"peer=127.0.0.1:{a.port}")
    b, c = mirror(house, "B", latest(pub), *told), mirror(house, "C", latest(pub), *told)
    assert_whole(house, b, pub)
    assert_whole(house, c, pub)
    assert (peers(b), peers(c)) == (1, 1)


def test_neighbours_call_each_other(house: House, pub: Path) -> None:
    assert os.geteuid() == 0, "this test makes a network namespace"
    house.calls_neighbours = True
    with own_network(f"gtfs-{os.getpid()}") as network:
        house.enter = ["nsenter", f"--net={network}"]
        a = house.mount(pub, "A", "nodht", "nopex")
        b = mirror(house, "B", latest(pub), "nodht", "nopex")
        assert_whole(house, b, pub)
        b.unmount()
        a.unmount()
        house.enter = []


def test_a_web_seed_alone_is_enough(house: House, pub: Path) -> None:
    with nginx(house, for_web_server(house, pub)) as url:
        again(house, pub, "--web-seed", url)
        # Nobody runs the publisher's node.
        b = mirror(house, "B", latest(pub), *ALONE)
        oid = house.git(pub, "rev-parse", "HEAD~1")
        assert b.pack(oid).read_bytes()[:4] == b"PACK"
        assert_whole(house, b, pub)
        b.unmount()


@pytest.mark.parametrize("lie", ["return 404;", "return 416;", "return 200 'no reel at all';", "max_ranges 0;"])
def test_a_bad_web_seed_does_no_harm(house: House, pub: Path, lie: str) -> None:
    with nginx(house, for_web_server(house, pub), lie) as url:
        again(house, pub, "--web-seed", url)
        a = house.mount(pub, "A", *ALONE)
        b = mirror(house, "B", latest(pub), *ALONE, f"peer=127.0.0.1:{a.port}")
        assert_whole(house, b, pub)
        a.unmount()
        b.unmount()


def test_a_web_seed_with_other_bytes_is_not_believed(house: House, pub: Path) -> None:
    lies = house.root / "lies"
    shutil.copytree(pub / "gtfs" / "reels", lies)
    for reel in lies.glob("*.reel"):
        reel.write_bytes(bytes(byte ^ 1 for byte in reel.read_bytes()))
    with nginx(house, lies) as url:
        again(house, pub, "--web-seed", url)
        a = house.mount(pub, "A", *ALONE)
        b = mirror(house, "B", latest(pub), *ALONE, f"peer=127.0.0.1:{a.port}")
        assert_whole(house, b, pub)
        a.unmount()
        b.unmount()


def test_a_gtfs_address_leads_a_mirror_to_every_new_catalogue(house: House, pub: Path) -> None:
    address = house.gtfs("keys", pub).out.strip()
    assert re.fullmatch(r"gtfs:[0-9a-f]{64}/project", address)
    assert house.gtfs("keys", pub).out.strip() == address
    assert (pub / "gtfs" / "keys" / "feed.key").stat().st_mode & 0o777 == 0o600
    assert f"source {address}\n" in house.gtfs("publish", "-v", pub).out
    a = house.mount(pub, "A", "nopex")
    wait_for(lambda: a.fresh_status()["pointer"]["nodes"], "the pointer was put")
    by = f"dht_node=127.0.0.1:{a.port}"
    b = mirror(house, "B", address, by, "nopex", "poll=1")
    assert_whole(house, b, pub)

    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: house.refs(b.repository) == house.refs(pub), "the mirror followed by itself")
    wait_for(
        lambda: [(f["feed"], f["error"]) for f in b.fresh_status()["feeds"]] == [(address, None)],
        "the address answers, whatever it did before",
    )

    # The publisher goes; who holds the catalogue keeps the pointer and the catalogue alive.
    wait_for(lambda: b.fresh_status()["pointer"]["version"] == 3, "the mirror put the pointer")
    a.unmount()
    c = mirror(house, "C", address, f"dht_node=127.0.0.1:{b.port}", "nopex")
    assert_whole(house, c, pub)


def test_everything_goes_by_ipv6_too(house: House, pub: Path) -> None:
    port = free_port()
    address = house.gtfs("keys", pub).out.strip()
    house.gtfs("publish", pub)
    a = house.mount(pub, "A", f"listen=[::1]:{port}", "nopex")
    wait_for(lambda: a.fresh_status()["pointer"]["nodes"], "the pointer was put")
    b = mirror(house, "B", address, "listen=[::1]:0", f"dht_node=[::1]:{port}", "nopex")
    assert_whole(house, b, pub)
    c = mirror(house, "C", latest(pub), "listen=[::1]:0", f"peer=[::1]:{port}", *ALONE)
    assert_whole(house, c, pub)
