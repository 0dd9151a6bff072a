# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels are merged as time goes by and mirrors fetch nothing twice; an existing clone fetches next to nothing (§4)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from house import House, Mount
from waiting import wait_for


def moved(mount: Mount) -> int:
    """Bytes of payload that this node got from peers since it was mounted."""
    return int(mount.fresh_status()["swarm"]["downloaded"])


def publish(house: House, repository: Path, times: int = 1) -> list[dict[str, Any]]:
    """Publish after each of so many new commits; what each publishing listed as its newest reel."""
    newest = []
    for _ in range(times):
        number = house.git(repository, "rev-list", "--count", "main")
        house.commit(repository, f"n {number}", {f"new/{int(number) % 3}": f"{number}\n".encode() * 20})
        *_, line = (ln for ln in house.gtfs("publish", "-v", repository).out.splitlines() if ln.startswith("reel "))
        _, name, _, _, size, _, rows, _ = line.split()
        newest.append({"name": name, "size": int(size), "rows": int(rows)})
    return newest


def reels_of(mount: Mount) -> set[str]:
    return {path.name for path in (mount.dir / ".gtfs" / "reels").iterdir()}


def listed(repository: Path) -> list[str]:
    text = (repository / "gtfs" / "catalogue" / "latest.asc").read_text()
    reels = text[text.index("\nReels:") :].split("\n\n")[0].split("-----BEGIN")[0]
    return [line.split()[0] for line in reels.splitlines()[1:] if line.startswith(" ")]


def follows(house: House, mirror: Mount, pub: Path) -> None:
    wait_for(lambda: house.refs(mirror.repository) == house.refs(pub), f"the mirror followed; log:\n{mirror.text()}")


def test_a_mirror_that_follows_fetches_only_new_reels_while_they_are_merged(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell", "poll=1")
    house.gtfs("sync", b.dir)
    before = moved(b)
    new_bytes = 0
    for _ in range(11):
        (newest,) = publish(house, pub)
        new_bytes += newest["size"]
        follows(house, b, pub)
    # Eight of them are one by now.
    names = listed(pub)
    assert len(names) == 1 + 1 + 3
    assert moved(b) - before == new_bytes
    assert {f"{name}.reel" for name in names} <= reels_of(a)
    wait_for(lambda: {f"{name}.reel" for name in names} <= reels_of(b), "the mirror has the same reels")
    assert b.packs() == a.packs() == set(house.history(pub))
    for oid in house.history(pub)[-12:]:
        assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
    for name in names:
        files = [r / "gtfs" / "reels" / f"{name}.reel" for r in (pub, b.repository)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_merged_away_reels_are_seeded_until_the_next_catalogue(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    publish(house, pub, 8)
    before = set(listed(pub))
    assert len(before) == 9
    publish(house, pub)
    assert len(listed(pub)) == 3
    gone = before - set(listed(pub))
    assert len(gone) == 8
    assert {f"{name}.reel" for name in gone} <= reels_of(a)
    status = a.fresh_status()
    assert status["retired"] == 8 and gone <= set(status["swarm"]["reels"])
    publish(house, pub)
    assert not {f"{name}.reel" for name in gone} & reels_of(a)
    status = a.fresh_status()
    assert status["retired"] == 0 and not gone & set(status["swarm"]["reels"])
    assert not [p for p in (pub / "gtfs" / "reels").iterdir() if p.name.split(".")[0] in gone]


def test_a_lazy_mirror_goes_on_reading_over_a_merge_and_fetches_no_pack_twice(house: House, pub: Path) -> None:
    publish(house, pub, 8)
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell", "poll=1")
    some = house.history(pub)[-3]
    assert b.packs() == set(house.history(pub))  # once the tables of all reels are here
    data = b.pack(some).read_bytes()
    fetched = moved(b)
    new = publish(house, pub)
    wait_for(lambda: b.packs() == set(house.history(pub)), "the new pack is listed")
    # The merged reel's table was made here, and what was here of its packs is in it: only the new reel's table came.
    assert moved(b) - fetched <= new[0]["size"]
    assert b.pack(some).read_bytes() == data == a.pack(some).read_bytes()
    assert moved(b) - fetched <= new[0]["size"]
    assert house.objects(b.repository) == set()


def test_a_mirror_that_merged_restarts_without_hashing_or_fetching(house: House, pub: Path) -> None:
    publish(house, pub, 8)
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell", "poll=1")
    house.gtfs("sync", b.dir)
    publish(house, pub, 2)
    follows(house, b, pub)
    b.unmount()
    again = house.mount(b.repository, "B2", "nobell", f"peer=127.0.0.1:{a.port}")
    local = again.fresh_status()["swarm"]["reels"]
    assert {name: r["local"] for name, r in local.items()} == {name: r["size"] for name, r in local.items()}
    assert set(local) >= set(listed(pub))
    done = house.gtfs("sync", again.dir, "--json").json()
    assert (done["fetched"], done["packs"], done["reels"]) == (0, 0, 0)
    assert moved(again) == 0
    a.unmount()
    # And it serves what it has to others.
    c = house.mount_mirror(again, "C")
    house.gtfs("sync", c.dir)
    assert house.refs(c.repository) == house.refs(pub)


@pytest.mark.parametrize("zlib", ["this zlib", "another zlib"])
def test_a_clone_that_joins_fetches_nothing(house: House, pub: Path, fresh: Path, otherzlib: Path, zlib: str) -> None:
    a = house.mount(pub, "A")
    house.keep_sound(fresh)
    env = {"LD_PRELOAD": str(otherzlib), "OTHERZLIB": "level"} if zlib == "another zlib" else {}
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    words = ["sync", source, "--into", fresh, "-o", ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])]
    done = house.gtfs(*words, env=env)
    assert "fetched 0 B of" in done.out and "(100.0 % were here)" in done.out
    (name,) = listed(pub)
    files = [r / "gtfs" / "reels" / f"{name}.reel" for r in (pub, fresh)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (fresh / "gtfs" / "open.reel").stat().st_size == 0
    assert done.err == "" or "zlib" in done.err
    # It seeds at once.
    a.unmount()
    b = house.mount(fresh, "B")
    c = house.mount_mirror(b, "C")
    house.gtfs("sync", c.dir)
    assert house.refs(c.repository) == house.refs(pub)


def test_a_clone_that_is_behind_fetches_what_it_lacks(house: House, pub: Path, fresh: Path) -> None:
    house.keep_sound(fresh)
    publish(house, pub, 10)
    a = house.mount(pub, "A")
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    words = ["sync", source, "--into", fresh, "--json"]
    done = house.gtfs(*words, "-o", ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])).json()
    assert house.refs(fresh) == house.refs(pub)
    sizes = {name: (pub / "gtfs" / "reels" / f"{name}.reel").stat().st_size for name in listed(pub)}
    first, *later = sizes.values()
    assert done["fetched"] <= sum(later)
    assert first > 10 * sum(later)
    with_git = house.run(["git", "-C", fresh, "fsck", "--full"])
    assert with_git.code == 0


def test_mounting_a_clone_as_a_mirror_fetches_nothing_either(house: House, pub: Path, fresh: Path) -> None:
    a = house.mount(pub, "A")
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    b = house.mount(source, "B", *house.mirror_options(a), "nobell", repository=fresh)
    wait_for(lambda: b.packs() == a.packs(), "every pack is listed")
    (name,) = listed(pub)
    # Its packs are those of git, and known before.
    wait_for(lambda: b.fresh_status()["swarm"]["reels"].get(name, {}).get("local"), "the reel was made")
    assert {b.state(oid) for oid in b.packs()} == {"unpacked"}
    assert moved(b) == 0
    shutil.rmtree(house.root / "nothing", ignore_errors=True)
