# SPDX-License-Identifier: GPL-3.0-or-later
"""A good citizen by whole programs: seeding several repositories, room given back, files for other clients, status."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from house import House, Key
from seeding import catalogue, seed, sync_options
from waiting import WAIT_S, read_terminal, wait_for


def reel_bytes(repository: Path) -> int:
    """What its reels take on disk."""
    return sum(path.stat().st_blocks * 512 for path in (repository / "gtfs" / "reels").glob("*.reel"))


def encoded(house: House, mirror: Path) -> int:
    """How many reels a cache has encoded again so far."""
    found: int = house.gtfs("status", "--json", mirror).json()["swarm"]["cache"]["encoded"]
    return found


def another(house: House, project: Path, key: Key, name: str) -> Path:
    """One more publisher's repository, with a commit of its own."""
    path = house.root / f"{name}.git"
    shutil.copytree(project, path)
    house.keep_sound(path)
    house.commit(path, name, {name: name.encode()})
    house.gtfs("init", path, "--name", name, "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", path)
    return path


def test_several_repositories_are_seeded_by_one_process_on_one_port(
    house: House, pub: Path, project: Path, key: Key
) -> None:
    other = another(house, project, key, "other")
    both = seed(house, pub, other)
    assert "2 reels of 2 repositories" in both.line
    for n, source in enumerate((pub, other)):
        status = house.gtfs("status", "--json", source).json()
        assert (status["running"], status["swarm"]["port"]) == (True, both.port)
        mirror = house.root / f"mirror{n}.git"
        house.keep_sound(mirror)
        house.gtfs("sync", catalogue(source), "-o", sync_options(house, mirror, both.port))
        assert house.refs(mirror) == house.refs(source)
    # What git brings is published by the running node, and seeded at once.
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    mirror = house.root / "mirror0.git"
    house.gtfs("sync", mirror, "-o", sync_options(house, mirror, both.port))
    assert house.refs(mirror) == house.refs(pub)
    assert house.gtfs("seed", pub, code=6).line.count("in use") == 1
    assert both.end(signal.SIGINT) == 0
    assert both.log.read_text().splitlines() == [both.line]


def test_a_reel_that_two_repositories_of_a_process_have_is_seeded_once(house: House, pub: Path) -> None:
    first = seed(house, pub)
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, first.port))
    assert first.end() == 0
    both = seed(house, mirror, pub)
    assert "1 reel of 2 repositories" in both.line
    third = house.root / "third.git"
    house.keep_sound(third)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, third, both.port))
    assert house.refs(third) == house.refs(pub)
    assert both.end() == 0


def test_an_empty_mirror_is_filled_by_the_other_repository_of_its_process(house: House, pub: Path) -> None:
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    offline = f"repo={mirror},keyring={house.key.public},offline"
    house.gtfs("sync", catalogue(pub), "-o", offline, code=5)
    both = seed(house, mirror, pub, options="prefetch")
    wait_for(lambda: house.refs(mirror) == house.refs(pub), f"the mirror follows; {both.log.read_text()}")
    assert house.gtfs("status", "--json", mirror).json()["swarm"]["downloaded"] == 0
    assert both.end() == 0


def test_a_cache_gives_room_back_and_keeps_the_repository_whole(house: House, pub: Path) -> None:
    origin = seed(house, pub)
    whole = reel_bytes(pub)
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    options = sync_options(house, mirror, origin.port, more="cache_size=300K")
    house.gtfs("sync", catalogue(pub), "-o", options)
    assert house.refs(mirror) == house.refs(pub)
    assert reel_bytes(mirror) < 450_000 < whole
    house.git(mirror, "fsck", "--full", "--no-dangling")
    # What left is not fetched again for nothing.
    again = house.gtfs("sync", mirror, "-o", options, "--json").json()
    assert again["fetched"] < 128 << 10
    # Another one gets the rest from where it is.
    cached = seed(house, mirror, options=f"cache_size=300K,peer=127.0.0.1:{origin.port}")
    third = house.root / "third.git"
    house.keep_sound(third)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, third, cached.port, origin.port))
    status = house.gtfs("status", "--json", mirror).json()["swarm"]
    assert status["cache"]["limit"] == 300 << 10
    assert status["cache"]["used"] < 450_000
    assert "cache" in house.gtfs("status", mirror).out
    assert cached.end() == 0
    assert origin.end() == 0


def test_a_cache_seeds_all_that_it_has_in_git_though_nobody_else_is_there(house: House, pub: Path) -> None:
    origin = seed(house, pub)
    whole = reel_bytes(pub)
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, origin.port))
    origin.end()
    cached = seed(house, mirror, options="cache_size=300K")

    def is_small() -> bool:
        return reel_bytes(mirror) < 450_000 < whole

    wait_for(is_small, lambda: f"the only copy is let go of; {cached.log.read_text()}")
    third = house.root / "third.git"
    house.keep_sound(third)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, third, cached.port))
    assert house.refs(third) == house.refs(pub)
    assert encoded(house, mirror)
    wait_for(is_small, lambda: f"it is let go of again; {cached.log.read_text()}")
    assert cached.end() == 0


def test_who_wants_nothing_of_it_does_not_bring_a_reel_back(house: House, pub: Path) -> None:
    origin = seed(house, pub)
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, origin.port))
    origin.end()
    cached = seed(house, mirror, options="cache_size=300K")
    wait_for(lambda: reel_bytes(mirror) < 450_000, lambda: f"the only copy is let go of; {cached.log.read_text()}")
    empty = house.root / "empty.git"
    words = f"repo={empty},keyring={house.key.public},peer=127.0.0.1:{cached.port}"
    other = seed(house, catalogue(pub), options=words)
    wait_for(
        lambda: (s := house.gtfs("status", "--json", empty).json()["swarm"])["share"]["taken"] and not s["connections"],
        "it has taken what is here, and was hung up on",
    )
    assert not encoded(house, mirror)
    # It is there for who wants something.
    oid = house.git(pub, "rev-list", "--max-parents=0", "main").split()[0]
    assert other.end() == 0
    lazy = house.mount(catalogue(pub), "lazy", *words.split(",")[1:], repository=empty)
    assert lazy.pack(oid).read_bytes()[:4] == b"PACK"
    assert encoded(house, mirror)
    assert cached.end() == 0


def test_a_publisher_keeps_all_of_its_reels(house: House, pub: Path) -> None:
    assert "cache_size is for mirrors" in house.gtfs("seed", pub, "-o", "cache_size=300K", code=2).line


def decoded(path: Path) -> Any:
    return lt.bdecode(path.read_bytes())


@pytest.mark.parametrize("runs", [False, True])
def test_torrent_files_are_handed_to_other_clients(house: House, pub: Path, runs: bool) -> None:
    house.git(pub, "config", "--file", pub / "gtfs" / "config", "--add", "gtfs.webseed", "http://example.org/reels/")
    house.gtfs("publish", pub, "--force")
    seeder = seed(house, pub) if runs else None
    out = house.root / "out"
    done = house.gtfs("torrent", pub, "--out", out, "--packs", "--tracker", "udp://127.0.0.1:1/announce")
    history = house.history(pub)
    assert done.out == f"1 reel, {len(history)} packs: {out}\n"
    (reel,) = out.glob("*.reel.torrent")
    made = decoded(reel)
    (listed,) = house.gtfs("publish", pub, code=0).out and catalogue(pub).read_text().split("Reels:\n ")[1:]
    assert hashlib.sha1(lt.bencode(made[b"info"])).hexdigest() in listed
    assert made[b"announce"] == b"udp://127.0.0.1:1/announce"
    assert made[b"url-list"][0].startswith(b"http://example.org/reels/")
    assert {path.name for path in out.glob("*.pack.torrent")} == {f"{oid}.pack.torrent" for oid in history}
    pack = decoded(out / f"{history[0]}.pack.torrent")
    house.gtfs("pack", pub, history[0], "-o", house.root / "p.pack")
    data = (house.root / "p.pack").read_bytes()
    assert pack[b"info"][b"length"] == len(data)
    assert pack[b"info"][b"pieces"][:20] == hashlib.sha1(data[: pack[b"info"][b"piece length"]]).digest()
    if seeder is not None:
        assert seeder.end() == 0


def test_status_tells_who_gives_and_who_takes(house: House, pub: Path) -> None:
    origin = seed(house, pub)
    taker_repository = house.root / "taker.git"
    house.keep_sound(taker_repository)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, taker_repository, origin.port))
    taker = seed(house, taker_repository, options=f"peer=127.0.0.1:{origin.port}")
    third = house.root / "third.git"
    other = seed(house, catalogue(pub), options=f"prefetch,{sync_options(house, third, origin.port, taker.port)}")
    house.keep_sound(third)
    wait_for(lambda: house.refs(third) == house.refs(pub), f"it is whole; {other.log.read_text()}")
    found = wait_for(
        lambda: (s := house.gtfs("status", "--json", third).json()["swarm"])["share"]["taken"] and s, "it is counted"
    )
    connection = max(found["connections"], key=lambda c: c["downloaded"])
    assert (connection["address"], connection["client"], connection["progress"]) == ("127.0.0.1", "gtfs", 1.0)
    given = wait_for(lambda: house.gtfs("status", "--json", pub).json()["swarm"]["share"]["given"], "it is counted")
    text = house.gtfs("status", third).out
    assert "share       ratio 0.00: 0 B given" in text
    assert "peer        127.0.0.1 gtfs" in text
    for seeder in (other, taker, origin):
        assert seeder.end() == 0
    # What was given is remembered.
    again = seed(house, pub)
    share = house.gtfs("status", "--json", pub).json()["swarm"]["share"]
    assert share["given"] >= given
    assert share["ratio"] > 0
    assert again.end() == 0


def test_a_sync_on_a_terminal_shows_packs_bytes_peers_rate_and_the_time_left(house: House, pub: Path) -> None:
    origin = seed(house, pub, options="upload_rate=300K")
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    ours, theirs = pty.openpty()
    command = ["gtfs", "sync", catalogue(pub), "-o", sync_options(house, mirror, origin.port)]
    process = house.start(command, terminal=theirs, env={"TERM": "xterm", "COLUMNS": "160"})
    os.close(theirs)
    shown = read_terminal(ours)
    os.close(ours)
    assert process.wait(WAIT_S) == 0, shown
    text = shown.decode(errors="replace")
    assert "1 peer" in text
    assert "KiB/s" in text
    assert "packs" in text
    assert re.search(r"\d:\d\d:\d\d", text)
    assert origin.end() == 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("proxy=http://127.0.0.1:1", "not socks5://HOST:PORT"),
        ("port=9-8", "not a port or a range"),
        ("connections=0", "not a number from 1 to"),
        ("encryption=much", "not one of required, enabled, disabled"),
        ("cache_size=much", "not a size"),
        ("offline", "nothing to seed"),
    ],
)
def test_an_option_that_does_not_fit_is_told(house: House, pub: Path, option: str, said: str) -> None:
    assert said in house.gtfs("seed", pub, "-o", option, code=2).line
