# SPDX-License-Identifier: GPL-3.0-or-later
"""Publisher and mirror have one idea of what is too much, and the publisher hears first."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House

BIG = 70 << 20  # of zeros: an ordinary file, as the image of an empty disk is


@pytest.fixture
def sparse(house: House, pub: Path) -> Path:
    """A publisher of a history with a large file that deflates well, not published yet."""
    house.commit(pub, "a disk", {"disk.img": bytes(BIG)})
    house.commit(pub, "one more", {"more": b"more\n"})
    return pub


def test_a_sparse_file_reaches_a_mirror(house: House, sparse: Path) -> None:
    house.gtfs("publish", sparse)
    a = house.mount(sparse, "A")
    mirror = house.root / "mirror.git"
    latest = sparse / "gtfs" / "catalogue" / "latest.asc"
    assert f"Needs:\n object_bytes {BIG}\n" in latest.read_text()
    house.gtfs("sync", latest, "--into", mirror, "-o", ",".join(["listen=127.0.0.1:0", *house.mirror_options(a)]))
    assert house.refs(mirror) == house.refs(sparse)
    house.keep_sound(mirror)


def test_a_mirror_with_a_lower_limit_says_so_before_it_fetches(house: House, sparse: Path) -> None:
    house.gtfs("publish", sparse)
    a = house.mount(sparse, "A")
    mirror = house.root / "mirror.git"
    latest = sparse / "gtfs" / "catalogue" / "latest.asc"
    words = ["sync", latest, "--into", mirror, "-o", ",".join(["listen=127.0.0.1:0", *house.mirror_options(a)])]
    done = house.gtfs(*words, "-o", "limit_object_bytes=16M", code=4)
    said = done.err.splitlines()[-1]
    assert f"need object_bytes {BIG} where this node allows {16 << 20}" in said
    assert f"-o limit_object_bytes={BIG}" in said and "gtfs.limitobjectbytes" in said
    assert not list((mirror / "gtfs" / "reels").glob("*.reel"))
    assert house.git(mirror, "for-each-ref") == ""
    house.git(mirror, "config", "--file", "gtfs/config", "gtfs.limitobjectbytes", "1M")
    assert "object_bytes" in house.gtfs("sync", mirror, "-o", words[-1], code=4).err
    house.gtfs("sync", mirror, "-o", f"{words[-1]},limit_object_bytes={BIG}")
    assert house.refs(mirror) == house.refs(sparse)
    house.keep_sound(mirror)


def test_what_is_over_the_publishers_limit_is_not_published_and_the_rest_is(house: House, sparse: Path) -> None:
    bad = house.git(sparse, "rev-parse", "main~1")
    before = house.git(sparse, "rev-parse", "main~2")
    good = house.git(sparse, "commit-tree", "-p", before, "-m", "beside", f"{before}^{{tree}}")
    house.git(sparse, "update-ref", "refs/heads/beside", good)
    house.gtfs("init", sparse, "--limit", "object_bytes=64M")
    done = house.gtfs("publish", sparse, code=3)
    line = done.err.splitlines()[-1]
    assert line.startswith("gtfs: not published: refs/heads/main: ")
    assert bad in line and "(disk.img)" in line and "over the limit object_bytes" in line
    text = (sparse / "gtfs" / "catalogue" / "latest.asc").read_text()
    assert f"{good} refs/heads/beside" in text and f"{before} refs/heads/main" in text and "Needs" not in text
    assert "there is no limit of that name" in house.gtfs("init", sparse, "--limit", "size=1", code=2).err

    house.gtfs("init", sparse, "--limit", "object_bytes=1G")
    house.gtfs("publish", sparse)


def test_patterns_say_which_refs_are_published_and_the_rest_is_named(house: House, pub: Path) -> None:
    tip = house.git(pub, "rev-parse", "main")
    for number in range(3):
        house.git(pub, "update-ref", f"refs/pull/{number}/head", tip)
    line = house.gtfs("publish", pub).line
    assert "left out: 3 refs below refs/pull/, refs/pull/0/head first" in line and "DROP" not in line
    house.gtfs("init", pub, "--refs", "refs/")
    assert house.gtfs("publish", pub).err == ""
    assert "refs/pull/2/head" in (pub / "gtfs" / "catalogue" / "latest.asc").read_text()
    house.gtfs("init", pub, "--hide", "refs/pull/")
    assert "mirrors will DROP 3 that the catalogue had so far" in house.gtfs("publish", pub).line
    assert "refs/pull" not in (pub / "gtfs" / "catalogue" / "latest.asc").read_text()
    a = house.mount(pub, "A")
    assert sorted(p.name for p in (a.dir / ".gtfs" / "refs").iterdir()) == ["heads", "tags"]
