# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror hears of a publish at once; asking its feed every so often is only what is left when nobody rings."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House, Mount
from waiting import wait_for

NEVER = "poll=1d"  # longer than any test


def listening(mirror: Mount) -> bool:
    return bool(mirror.fresh_status()["bell"]["peers"])


def follow(house: House, publisher: Mount, name: str, *options: str) -> Mount:
    mirror = house.mount_mirror(publisher, name, *options)
    house.gtfs("sync", mirror.dir)
    return mirror


def publish(house: House, pub: Path, number: int) -> str:
    new = house.commit(pub, f"news {number}", {"news": b"%d\n" % number})
    house.gtfs("publish", pub)
    return new


def test_a_mirror_takes_each_version_without_asking_its_feed_again_and_again(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b, c = (follow(house, a, name, NEVER) for name in "BC")
    wait_for(lambda: listening(b) and listening(c), "they are in the bell's swarm")
    for number in range(3):
        publish(house, pub, number)
        for mirror in (b, c):
            wait_for(
                lambda m=mirror: house.refs(m.repository) == house.refs(pub), f"it followed; log:\n{mirror.text()}"
            )
    wait_for(lambda: b.fresh_status()["bell"]["heard"] == 4, "it heard of the last, whatever made it ask before")


def test_a_publisher_that_comes_back_rings_for_what_was_published_meanwhile(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = follow(house, a, "B", NEVER)
    wait_for(lambda: listening(b), "it is in the bell's swarm")
    port = a.port
    a.unmount()
    publish(house, pub, 1)
    a = house.mount(pub, "A", f"listen=127.0.0.1:{port}")
    wait_for(lambda: house.refs(b.repository) == house.refs(pub), f"it followed; log:\n{b.text()}")


@pytest.mark.parametrize("deaf", ["nobell", "offline"])
def test_who_wants_no_bell_has_none(house: House, pub: Path, deaf: str) -> None:
    a = house.mount(pub, "A", deaf)
    assert a.fresh_status()["bell"] == {"heard": None, "peers": 0}
    assert not (pub / "gtfs" / "bells").exists()
