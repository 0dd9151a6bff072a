# SPDX-License-Identifier: GPL-3.0-or-later
"""Three signers, two of whom must sign: each in a GnuPG of its own, away from repository and network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, Key, wait_for

NAMES = ("ada", "ben", "cleo")
OFFLINE = ("unshare", "--net")


@pytest.fixture
def signers(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[dict[str, Key]]:
    made = {name: Key(keys, name) for name in NAMES}
    yield made
    for key in made.values():
        key.close()


class Release:
    """A publisher without a secret key, and its signers, who have nothing but files."""

    def __init__(self, house: House, signers: dict[str, Key]) -> None:
        self.house, self.signers = house, signers
        self.origin = house.empty("origin.git")
        self.ring = house.root / "ring.gpg"
        self.ring.write_bytes(b"".join(key.public.read_bytes() for key in signers.values()))
        self.home = house.root / "p"
        self.home.mkdir(mode=0o700)
        house.run(["gpg", "--homedir", self.home, "--batch", "--import", self.ring])
        self.all = [key.fingerprint for key in signers.values()]

    def init(self, *names: str, threshold: int = 2) -> None:
        words = [word for name in names for word in ("--signer", self.signers[name].fingerprint)]
        home = ("--gnupg-home", self.home)
        done = self.house.gtfs("init", self.origin, "--name", "release", *words, "--threshold", str(threshold), *home)
        assert ("--propose" in done.out) == (threshold > 1)

    def propose(self, name: str, *, rotates: bool = False) -> Path:
        file = self.house.root / name
        said = self.house.gtfs("publish", "--propose", self.origin, file).out
        assert (", who may sign now\n" in said) == (", who may sign the next one\n" in said) == rotates
        return file

    def sign(self, file: Path, name: str) -> Path:
        """Away from all: in a directory with the proposal alone, and without a network."""
        desk = self.house.root / f"desk-{name}"
        desk.mkdir(exist_ok=True)
        for part in file.parent.glob(f"{file.name}*"):
            if part.suffix != ".asc":
                shutil.copy(part, desk)
        key = self.signers[name]
        sign = ["gtfs", "sign", "--gnupg-home", key.gnupg_home, desk / file.name]
        assert "nobody is at a terminal" in self.house.run([*OFFLINE, *sign], code=2).err
        shown = self.house.run([*OFFLINE, *sign, "--yes"]).out
        assert "repository   release" in shown and "refs/heads/main" in shown
        signed = desk / f"{file.name}.{key.fingerprint[-16:]}.asc"
        key.gpg("--verify", str(signed))
        return signed

    def complete(self, *files: Path, code: int = 0) -> str:
        done = self.house.gtfs("publish", "--complete", self.origin, *files, code=code)
        return done.out if code == 0 else done.line

    @property
    def latest(self) -> Path:
        return self.origin / "gtfs" / "catalogue" / "latest.asc"


def test_two_of_three_who_sign_offline_reach_a_mirror_and_one_does_not(house: House, signers: dict[str, Key]) -> None:
    release = Release(house, signers)
    house.keep_sound(release.origin)
    first = house.commit(release.origin, "release 1", {"a": b"1\n"})
    release.init(*NAMES)
    said = house.gtfs("publish", release.origin, code=2).line
    assert "gtfs publish --propose REPO FILE, gtfs sign FILE" in said

    file = release.propose("one")
    assert not release.latest.exists()
    unmatched = house.gtfs("publish", "--complete", release.origin, f"{file}.*.asc", code=2)
    assert f"{file}.*.asc does not exist: gtfs sign makes" in unmatched.err
    by_ada, by_cleo = release.sign(file, "ada"), release.sign(file, "cleo")
    assert "needs 2 of" in release.complete(by_ada, code=4)
    assert release.complete(by_ada, by_cleo).startswith("version 1: ")

    # A mirror: with one signature it refuses, with two it follows.
    served = house.root / "served.asc"
    mirror = house.root / "mirror.git"
    publisher = house.mount(release.origin, "origin", "nodht")
    who = ",".join(f"signer={fingerprint}" for fingerprint in release.all)
    options = f"keyring={release.ring},{who},threshold=2,listen=127.0.0.1:0,nodht,peer=127.0.0.1:{publisher.port}"

    def sync(code: int = 0) -> str:
        done = house.gtfs("sync", served, "--into", mirror, "-o", options, code=code)
        return done.line if code else ""

    shutil.copy(by_ada, served)
    assert "1 of 2 needed signatures" in sync(4)
    shutil.copy(release.latest, served)
    sync()
    house.keep_sound(mirror)
    assert house.refs(mirror)["refs/heads/main"] == first
    # Whom to believe first is said so that it can be given, and a mirror is not told to become a publisher.
    unsaid = ("--into", house.root / "other.git", "-o", f"keyring={release.ring},offline")
    one, two = (
        house.gtfs("sync", served, *unsaid, code=4).line.partition("nobody said that ")[2].split(" may ")[0].split(", ")
    )
    assert {one, two} == {signers["ada"].fingerprint, signers["cleo"].fingerprint}
    assert f"no publisher's but follows {served}" in house.gtfs("publish", mirror, code=2).line

    # The running node does the same; the one who is lost is replaced by the other two.
    second = house.commit(release.origin, "release 2", {"a": b"2\n"})
    release.init("ada", "cleo")
    file = release.propose("two", rotates=True)
    by_ada, by_ben, by_cleo = (release.sign(file, name) for name in NAMES)
    shutil.copy(by_ada, served)
    assert "1 of 2 needed signatures" in house.gtfs("sync", served, "--into", mirror, "-o", options, code=4).line
    assert "and needs 2 of" in release.complete(by_ada, by_ben, code=4)
    assert release.complete(by_ada, by_cleo).startswith("version 2: ")
    shutil.copy(release.latest, served)
    sync()
    assert house.refs(mirror)["refs/heads/main"] == second


def test_a_mirror_that_was_away_for_two_rotations_is_led_by_the_versions_between(
    house: House, signers: dict[str, Key]
) -> None:
    release = Release(house, signers)
    house.keep_sound(release.origin)
    house.commit(release.origin, "release 1", {"a": b"1\n"})
    release.init("ada", threshold=1)
    release.complete(release.sign(release.propose("one"), "ada"))
    publisher = house.mount(release.origin, "origin", "nodht")
    mirror, who = house.root / "mirror.git", f"signer={signers['ada'].fingerprint}"
    options = ["nodht", f"keyring={release.ring}", who, f"peer=127.0.0.1:{publisher.port}"]
    house.gtfs("sync", release.latest, "--into", mirror, "-o", ",".join(["listen=127.0.0.1:0", *options]))
    for number, (old, new) in enumerate((("ada", "ben"), ("ben", "cleo"), ("cleo", "cleo")), 2):
        tip = house.commit(release.origin, f"release {number}", {"a": b"%d\n" % number})
        release.init(new, threshold=1)
        file = release.propose(f"proposal-{number}", rotates=old != new)
        release.complete(*(release.sign(file, name) for name in dict.fromkeys((old, new))))

    followed = ["poll=1", "prefetch"]
    expected = ["catalogue refused: 0 of 1 needed signatures"]
    mounted = house.mount(release.latest, "mirror", *options, *followed, repository=mirror, expected=expected)
    wait_for(lambda: "0 of 1 needed signatures" in mounted.text(), "the newest is refused")
    for number in (2, 3):
        shutil.copyfile(release.latest.parent / f"{number}.asc", mounted.dir / ".gtfs" / f"{number}.asc")
    wait_for(lambda: house.refs(mirror).get("refs/heads/main") == tip, "the newest is taken, and refs move")
    assert mounted.fresh_status()["catalogue"]["signers"] == [signers["cleo"].fingerprint]
