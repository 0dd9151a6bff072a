# SPDX-License-Identifier: GPL-3.0-or-later
"""Same history, same reel name, same infohash: whatever git packed, whatever zlib is linked (design.md §3, §4)."""

from __future__ import annotations

import shutil
from pathlib import Path

from house import House


def reels(house: House, repository: Path, env: dict[str, str] | None = None) -> list[str]:
    """The lines about reels that publishing prints: name, infohash, size, packs."""
    words = ["--name", "same", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", repository, *words)
    house.keep_sound(repository)
    done = house.gtfs("publish", "-v", repository, env=env)
    return [line for line in done.out.splitlines() if line.startswith("reel ")]


def test_two_clones_packed_differently_publish_the_same_reel(house: House, fresh: Path) -> None:
    other = house.root / "other.git"
    house.run(["git", "clone", "--quiet", "--mirror", "--no-local", fresh, other])
    house.git(other, "repack", "-q", "-adf", "--depth=10", "--window=5")
    assert {p.name for p in (other / "objects/pack").iterdir()} != {p.name for p in (fresh / "objects/pack").iterdir()}
    first = reels(house, fresh)
    assert len(first) == 1
    assert reels(house, other) == first


def test_a_clone_on_a_machine_with_another_zlib_publishes_the_same_reel(
    house: House, fresh: Path, otherzlib: Path
) -> None:
    other = house.root / "other.git"
    shutil.copytree(fresh, other)
    preload = {"LD_PRELOAD": str(otherzlib), "OTHERZLIB": "level"}
    # The other zlib is really in use there.
    program = "import sys, zlib; sys.stdout.write(zlib.compress(bytes(range(256)) * 300, 1).hex())"
    python = house.run(["python", "-c", program]).out
    assert python != house.run(["python", "-c", program], env=preload).out
    first = reels(house, fresh)
    assert reels(house, other, preload) == first
    catalogues = [r / "gtfs" / "catalogue" / "latest.asc" for r in (fresh, other)]
    assert [c.read_text().count(first[0].split()[1]) for c in catalogues] == [1, 1]


def test_packs_that_came_by_rsync_in_any_order_are_published_as_the_same_reel(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    b = house.mount(house.empty(), "B", "offline")
    history = house.history(pub)
    house.run(["cp", *(a.pack(oid) for oid in sorted(history)), b.dir])
    b.wait_unpacked(*history)
    b.unmount()
    for name, oid in house.refs(pub).items():
        if name != "HEAD":
            house.git(b.repository, "update-ref", name, oid)
    expected = [line for line in house.gtfs("publish", "-v", pub).out.splitlines() if line.startswith("reel ")]
    assert reels(house, b.repository) == expected
