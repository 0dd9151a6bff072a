# SPDX-License-Identifier: GPL-3.0-or-later
"""A thief of the publisher's key publishes a version that none can follow, and mirrors come back by ``gtfs rewind``."""

from __future__ import annotations

import re
from pathlib import Path

from house import House, Key, wait_for

HIGH = (1 << 53) - 1


def serve(served: Path, document: bytes) -> None:
    """As servers do: nobody who asks meanwhile gets a part of it."""
    new = served.with_suffix(".new")
    new.write_bytes(document)
    new.rename(served)


def publish_as_thief(key: Key, honest: Path, served: Path) -> None:
    """What the publisher says, under the highest number that there is, and without a branch."""
    text = key.gpg("--decrypt", data=honest.read_bytes())
    text = re.sub(rb"(?m)^Version: .*$", b"Version: %d" % HIGH, text)
    text = re.sub(rb"(?m)^Previous: .*\n", b"", text).replace(b"Date:", b"Previous: %b\nDate:" % (b"ab" * 32), 1)
    serve(served, key.clearsign(text))


def test_mirrors_come_back_from_a_version_that_none_can_follow(house: House, key: Key) -> None:
    origin = house.empty("origin.git")
    house.commit(origin, "one", {"a": b"1\n"})
    house.gtfs("init", origin, "--name", "x", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", origin)
    publisher = house.mount(origin, "origin", "nodht")
    honest = origin / "gtfs" / "catalogue" / "latest.asc"
    served = house.root / "served.asc"
    serve(served, honest.read_bytes())
    alone, running = house.root / "alone.git", house.root / "running.git"
    options = ",".join([*house.mirror_options(publisher), "listen=127.0.0.1:0", "nodht"])
    house.gtfs("sync", served, "--into", alone, "-o", options)
    mirror = house.mount(
        served, "mirror", *house.mirror_options(publisher), "nodht", "poll=1", "prefetch",
        repository=running, expected=["taken back here"],
    )  # fmt: skip
    wait_for(lambda: "refs/heads/main" in house.refs(running), "the mirror is whole")

    publish_as_thief(key, honest, served)
    house.gtfs("sync", alone, "-o", options)
    wait_for(lambda: mirror.fresh_status()["catalogue"]["version"] == HIGH, "the thief's is held")
    second = house.commit(origin, "two", {"a": b"2\n"})
    house.gtfs("publish", origin)
    fresh = house.root / "fresh.asc"
    fresh.write_bytes(honest.read_bytes())

    # The owner's next version is older: refused, for good.
    assert "older than the held version" in house.gtfs("sync", fresh, "--into", alone, "-o", options, code=4).err
    assert "what this node can go back to is 1" in house.gtfs("rewind", alone, "7", code=2).line
    done = house.gtfs("rewind", alone, "1").out
    assert done.startswith("version 1 is held again, digest ") and "withdrawn-" in done
    status = house.gtfs("status", "--json", alone).json()["catalogue"]
    assert status["version"] == 1 and status["digest"] in done
    # What was taken back is not taken again, and the owner's next one is.
    again = house.gtfs("sync", alone, "-o", options, code=4).err
    assert "taken back here" in again
    assert house.refs(alone)["refs/heads/main"] == second

    assert house.gtfs("rewind", mirror.dir, "1").out.startswith("version 1 is held again")
    assert mirror.fresh_status()["catalogue"]["version"] == 1
    serve(served, honest.read_bytes())
    wait_for(lambda: house.refs(running)["refs/heads/main"] == second, "the running mirror follows the owner again")
    house.keep_sound(alone, running)
