# SPDX-License-Identifier: GPL-3.0-or-later
"""gtfs-trust(7), done with the programs that it names: a distribution's keyring, the web of trust, a ring in git."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from house import House, Key
from seeding import catalogue, seed, sync_options
from waiting import wait_for

DEBIAN = Path("/usr/share/keyrings/debian-keyring.gpg")  # of the package debian-keyring


@pytest.fixture
def people(keys: Path) -> Iterator[dict[str, Key]]:
    made = {name: Key(keys, name) for name in ("uma", "vera")}
    yield made
    for key in made.values():
        key.close()


def ring(house: House, repository: Path) -> dict[str, Any]:
    """The keys by fingerprint, as `gtfs trust list` has them."""
    return {key["fingerprint"]: key for key in house.gtfs("trust", repository, "list", "--json").json()["keys"]}


def test_two_developers_of_debian_are_taken_checked_and_removed(house: House) -> None:
    apt = house.empty("apt.git")
    house.keep_sound(apt)
    shown = ["gpg", "--homedir", house.key.gnupg_home, "--with-colons", "--show-keys", DEBIAN]
    listed = house.run(shown).out.split("\n")
    primary = [listed[at + 1] for at, line in enumerate(listed) if line.startswith("pub:")]
    first, second = (line.split(":")[9] for line in primary[:2])
    house.gtfs("trust", apt, "add", "--only", first, "--only", second, DEBIAN)
    found = ring(house, apt)
    assert found.keys() == {first, second} and all(key["user_ids"] and key["anything"] for key in found.values())
    assert (apt / "gtfs" / "keyring.gpg").stat().st_size < DEBIAN.stat().st_size / 50
    assert (
        f"{len([key for key in found.values() if key['trouble']])} of 2 keys" in house.gtfs("trust", apt, "check").out
    )

    # What a line names is worth an exit code.
    expired = "C" * 40
    house.git(apt, "config", "--file", apt / "gtfs" / "config", "gtfs.policy", f"** tag by={expired}")
    done = house.gtfs("trust", apt, "check", code=1)
    assert f"{expired} is not in the ring" in done.err
    house.gtfs("trust", apt, "remove", first)
    assert ring(house, apt).keys() == {second}
    assert house.gtfs("status", "--json", apt).json()["keyring"]["keys"] == 1


def test_who_has_certified_whom_is_proposed_and_frozen_when_accepted(house: House, people: dict[str, Key]) -> None:
    apt, uma, vera = house.empty("apt.git"), people["uma"], people["vera"]
    house.keep_sound(apt)
    uma.gpg("--import", str(vera.public))
    uma.gpg("--quick-sign-key", vera.fingerprint)
    uma.gpg("--import-ownertrust", data=f"{uma.fingerprint}:6:\n".encode())
    asked = ("trust", apt, "propose", "--gnupg-home", uma.gnupg_home)
    proposed = house.gtfs(*asked, "--json").json()
    assert [(p["fingerprint"], p["validity"]) for p in proposed] == [(vera.fingerprint, "full")]
    assert proposed[0]["paths"] == [[uma.fingerprint, vera.fingerprint]]
    assert ring(house, apt) == {}
    house.gtfs(*asked, "--accept", vera.fingerprint)
    assert ring(house, apt).keys() == {vera.fingerprint}


def test_a_ring_in_a_signed_repository_is_followed(house: House, people: dict[str, Key]) -> None:
    uma, vera = people["uma"], people["vera"]
    # The team's repository, one file a key, is published and mirrored like any other.
    team = house.empty("team.git")
    house.keep_sound(team)
    init = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home, "--name", "team"]
    house.gtfs("init", team, *init)
    mirror = house.root / "keyrings.git"
    house.keep_sound(mirror)

    def publish(files: dict[str, bytes], code: int = 0) -> str:
        commit = house.commit(team, "keys", files)
        house.gtfs("publish", team)
        seeder = seed(house, team)
        house.gtfs("sync", catalogue(team), "-o", sync_options(house, mirror, seeder.port), code=code)
        assert seeder.end() == 0
        return commit

    first = publish({"gpg/uma": uma.public.read_bytes()})
    apt = house.empty("apt.git")
    said = house.gtfs("trust", apt, "follow", mirror, "gpg").out
    assert f"refs/heads/main in {mirror}: {first}" in said and "1 key in the ring by it" in said
    assert ring(house, apt).keys() == {uma.fingerprint}

    # A node that runs sees that the mirror has moved.
    node = house.mount(apt, "apt", "nodht", expected=["the ring that is followed stays as it is"])
    second = publish({"gpg/vera": vera.public.read_bytes()})
    wait_for(lambda: ring(house, apt).keys() == {uma.fingerprint, vera.fingerprint}, "the new key is in the ring")
    assert node.fresh_status()["keyring"]["follows"] == {
        "repository": str(mirror),
        "ref": "refs/heads/main",
        "paths": ["gpg"],
        "commit": second,
        "trouble": None,
        "left_out": [],
    }

    # What git alone puts into the mirror is nobody's word.
    house.git(mirror, "update-ref", "refs/heads/main", first)
    house.git(mirror, "update-ref", "refs/heads/main", second)

    # A tree that cannot be used leaves the ring, and the status says so.
    publish({"gpg/uma": b"no key\n", "gpg/vera": b"nor this\n"})
    wait_for(lambda: node.fresh_status()["keyring"]["follows"]["trouble"], "the trouble is told")
    assert "STAYS AS IT IS: there is no key in it" in house.gtfs("status", node.dir).out
    assert ring(house, apt).keys() == {uma.fingerprint, vera.fingerprint}
    house.gtfs("trust", node.dir, "check", code=1)

    # Who has left the team leaves the ring; where no node runs, a sync looks.
    publish({"gpg/uma": b"no key\n", "gpg/vera": vera.public.read_bytes()})
    wait_for(lambda: ring(house, apt).keys() == {vera.fingerprint}, "the old key has gone")
    left_out = node.fresh_status()["keyring"]["follows"]["left_out"]
    assert len(left_out) == 1 and left_out[0].startswith("gpg/uma: ")
    node.unmount()
    assert "what it brought stays: 1 key" in house.gtfs("trust", apt, "follow", "--stop").out
    assert house.gtfs("status", "--json", apt).json()["keyring"]["follows"] is None


def test_a_running_mirror_is_told_of_an_attester_by_a_sync(house: House, people: dict[str, Key]) -> None:
    uma = people["uma"]
    origin = house.empty("origin.git")
    release = house.commit(origin, "release 1", {"a": b"1\n"})
    line = f"refs/heads/** catalogue threshold=1 attesters={uma.fingerprint}"
    init = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home, "--name", "origin"]
    said = house.gtfs("init", origin, *init, "--policy", line).err
    assert "has 0 of the 1 attester " in said
    house.gtfs("trust", origin, "add", uma.public)
    assert "attesters" not in house.gtfs("publish", origin).err
    publisher = house.mount(origin, "origin", "nodht")
    keyring = house.root / "ring.gpg"
    keyring.write_bytes(house.key.public.read_bytes() + uma.public.read_bytes())
    trusted = f"keyring={keyring},signer={house.key.fingerprint},nodht,peer=127.0.0.1:{publisher.port}"

    attester = house.root / "attester.git"
    house.keep_sound(attester)
    house.gtfs("sync", catalogue(origin), "--into", attester, "-o", f"{trusted},listen=127.0.0.1:0", code=4)
    house.gtfs("init", attester, "--attest", "--sign-key", uma.fingerprint, "--gnupg-home", uma.gnupg_home)
    house.gtfs("publish", attester)

    mirror = house.mount(
        catalogue(origin),
        "mirror",
        *trusted.split(","),
        "nolsd",
        repository=house.root / "mirror.git",
        expected=["refs? stays? where (it is|they are)"],
    )
    house.gtfs("sync", mirror.dir, code=4)
    assert "refs/heads/main" not in house.refs(mirror.repository)
    house.gtfs("sync", mirror.dir, "-o", f"attester={attester}/gtfs/attestation/latest.asc")
    assert house.refs(mirror.repository)["refs/heads/main"] == release
