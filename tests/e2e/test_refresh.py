# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs refresh`` as a program: alone, by a running node, and what mirrors make of it that ask a file or a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, Key
from waiting import wait_for


@pytest.fixture
def online(keys: Path) -> Iterator[Key]:
    """The key that may be online."""
    made = Key(keys, "online")
    yield made
    made.close()


@pytest.fixture
def publisher(house: House, key: Key, online: Key) -> Path:
    """Version 1, with a key for freshness whose secret half is in a home of its own."""
    origin = house.empty("origin.git")
    house.commit(origin, "one", {"a": b"1\n"})
    key.gpg("--import", data=online.public.read_bytes())
    house.gtfs(
        "init", origin, "--name", "fresh", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home,
        "--freshness-key", online.fingerprint, "--valid-days", "2",
    )  # fmt: skip
    house.gtfs("publish", origin)
    return origin


def test_a_mirror_that_refreshes_keeps_itself_and_others_fresh(
    house: House, key: Key, online: Key, publisher: Path
) -> None:
    source = publisher / "gtfs" / "catalogue" / "latest.asc"
    ring = house.root / "ring.gpg"
    ring.write_bytes(key.public.read_bytes() + online.public.read_bytes())
    pub = house.mount(publisher, "pub", "nodht")
    options = f"keyring={ring},signer={key.fingerprint},listen=127.0.0.1:0,nodht,peer=127.0.0.1:{pub.port}"
    one = house.root / "one.git"
    house.gtfs("sync", source, "--into", one, "-o", options)
    house.keep_sound(one)
    assert house.gtfs("status", "--json", one).json()["catalogue"]["fresh_until"] is None

    # Without a node, in a mirror, by the key that its own settings say where to find.
    house.git(one, "config", "--file", one / "gtfs" / "config", "gtfs.gnupghome", str(online.gnupg_home))
    first = house.gtfs("refresh", one)
    assert first.out.startswith("version 1 counts until ") and "file " in first.out
    until = house.gtfs("status", "--json", one).json()["catalogue"]["fresh_until"]
    assert until is not None
    assert "there was time enough left" in house.gtfs("refresh", one).out

    # Another mirror takes it from there with the catalogue.
    said = one / "gtfs" / "catalogue"
    mirror = house.mount(
        said, "mirror", f"keyring={ring}", f"signer={key.fingerprint}", "nodht", f"peer=127.0.0.1:{pub.port}", "poll=1",
        repository=house.root / "mirror.git",
    )  # fmt: skip
    wait_for(lambda: mirror.fresh_status()["catalogue"]["fresh_until"] == until, "the statement came along")

    # A running node does the work itself, and the other mirror takes what it wrote.
    node = house.mount(one, "one", "nodht")
    done = house.gtfs("refresh", "--valid-days", "60", "--key", online.fingerprint, node.dir)
    assert "there was time enough left" not in done.out
    wait_for(lambda: mirror.fresh_status()["catalogue"]["fresh_until"] > until, "the next one as well")
    (feed,) = mirror.fresh_status()["feeds"]
    assert feed["error"] is None and feed["freshness"] is None


def test_refresh_of_what_cannot_be_refreshed_is_one_line(house: House, key: Key) -> None:
    origin = house.empty("origin.git")
    house.commit(origin, "one", {"a": b"1\n"})
    assert "holds no catalogue that could be refreshed" in house.gtfs("refresh", origin, code=4).line
    house.gtfs("init", origin, "--name", "x", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", origin)
    assert "gtfs init --freshness-key" in house.gtfs("refresh", origin, code=2).line
