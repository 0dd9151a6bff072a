# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs::`` with a URL on a web server, and with an address in the DHT."""

from __future__ import annotations

from finders import for_web_server, nginx
from gitremote import Clones
from waiting import wait_for


def test_a_url_is_cloned_and_followed(clones: Clones) -> None:
    house = clones.house
    with nginx(house, for_web_server(house, clones.publisher)) as base:
        clone = clones.clone(url=f"gtfs::{base}/latest.asc")
        new = house.commit(clones.publisher, "news", {"news": b"new\n"})
        house.gtfs("publish", clones.publisher)
        for_web_server(house, clones.publisher)
        clones.run("-C", clone, "pull", "--quiet", "--ff-only")
        assert house.git(clone, "rev-parse", "HEAD") == new
    done = clones.run("-C", clone, "fetch", code=128)
    assert done.err.startswith("fatal: ") and "127.0.0.1" in done.err
    clones.check(clone)


def test_web_seeds_alone_are_enough(clones: Clones) -> None:
    house = clones.house
    clones.seed.unmount()
    clones.say("gtfs.option", "nodht,nolsd,listen=127.0.0.1:0")
    with nginx(house, for_web_server(house, clones.publisher)) as base:
        house.gtfs("init", clones.publisher, "--web-seed", f"{base}/")
        house.gtfs("publish", clones.publisher)
        for_web_server(house, clones.publisher)
        clone = clones.clone(url=f"gtfs::{base}/latest.asc")
    assert house.git(clone, "rev-parse", "HEAD") == house.git(clones.publisher, "rev-parse", "main")
    clones.check(clone)


def test_an_address_in_the_dht_is_cloned_and_followed(clones: Clones) -> None:
    house = clones.house
    address = house.gtfs("keys", clones.publisher).out.strip()
    house.gtfs("publish", clones.publisher)
    wait_for(lambda: clones.seed.fresh_status()["pointer"]["nodes"], "the pointer was put")
    clones.say("gtfs.option", f"nolsd,nopex,listen=127.0.0.1:0,dht_node=127.0.0.1:{clones.seed.port}")
    clone = clones.clone(url=f"gtfs::{address}")
    assert house.git(clone, "rev-parse", "HEAD") == house.git(clones.publisher, "rev-parse", "main")
    before = clones.seed.fresh_status()["pointer"]["version"]
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    house.gtfs("publish", clones.publisher)
    wait_for(lambda: clones.seed.fresh_status()["pointer"]["version"] > before, "the new pointer was put")
    house.git(clone, "remote", "set-url", "origin", address.replace("gtfs:", "gtfs://"))
    clones.run("-C", clone, "pull", "--quiet", "--ff-only")
    assert house.git(clone, "rev-parse", "HEAD") == new
    clones.check(clone)
