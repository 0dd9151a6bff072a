# SPDX-License-Identifier: GPL-3.0-or-later
"""One daemon with many repositories, by whole programs: what is bad stops nothing, and what comes and goes does so."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from house import Done, House, Key
from seeding import catalogue, seed, sync_options
from waiting import WAIT_S, wait_for

from gtfs.metainfo import info_of


@dataclass
class Daemon:
    """``gtfs seed`` by a gtfs.conf; made by `start`."""

    house: House
    process: subprocess.Popen[bytes]
    log: Path
    config: Path
    env: dict[str, str]

    def ask(self, *words: Any, code: int | None = 0) -> Done:
        return self.house.run(["gtfs", "seed", *words], env=self.env, code=code)

    def members(self) -> dict[str, dict[str, Any]]:
        return {item["name"]: item for item in self.ask("list", "--json").json()["repositories"]}

    def wait_stage(self, name: str, stage: str) -> None:
        wait_for(lambda: self.members()[name]["stage"] == stage, lambda: f"{name} {stage}: {self.log.read_text()}")

    def text(self) -> str:
        return self.log.read_text()

    def port(self) -> int:
        return int(re.findall(r"^seeding .* on port (\d+)$", self.text(), re.MULTILINE)[0])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


def start(house: House, config: str, *options: str) -> Daemon:
    """Start one, and wait until it has tried each repository."""
    path = house.root / "gtfs.conf"
    path.write_text(config)
    env = {"STATE_DIRECTORY": f"{house.root}/data", "RUNTIME_DIRECTORY": f"{house.root}/run"}
    log = house.root / f"daemon{len(list(house.root.glob('daemon*.log')))}.log"
    words = ",".join(["listen=127.0.0.1:0", "nodht", "nolsd", *options])
    with log.open("wb") as out:
        process = house.start(["gtfs", "-v", "seed", "--config", path, "-o", words], env=env, out=out)
    daemon = Daemon(house, process, log, path, env)

    def stands() -> bool:
        assert process.poll() is None, daemon.text()
        return re.search(r"^seeding ", daemon.text(), re.MULTILINE) is not None

    wait_for(stands, daemon.text)
    return daemon


def another(house: House, project: Path, key: Key, name: str) -> Path:
    """One more publisher's repository, with a commit of its own."""
    path = house.root / f"{name}.git"
    shutil.copytree(project, path)
    house.keep_sound(path)
    house.commit(path, name, {name: name.encode()})
    house.gtfs("init", path, "--name", name, "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", path)
    return path


def section(name: str, path: Path) -> str:
    return f'[repository "{name}"]\n\tpath = {path}\n'


def damaged(house: House, name: str = "damaged") -> Path:
    """No repository any more, though it looks like one."""
    path = house.root / f"{name}.git"
    (path / "objects").mkdir(parents=True)
    (path / "HEAD").write_text("nonsense")
    house.forgive(path)
    return path


def test_of_three_repositories_one_damaged_and_one_in_use_the_third_is_seeded(
    house: House, pub: Path, project: Path, key: Key
) -> None:
    used = another(house, project, key, "used")
    other = seed(house, used)
    daemon = start(house, section("bad", damaged(house)) + section("used", used) + section("good", pub))
    assert "of 1 repository" in daemon.text()
    found = daemon.members()
    assert {name: item["stage"] for name, item in found.items()} == {
        "bad": "trouble",
        "used": "trouble",
        "good": "running",
    }
    assert f"in use by process {other.process.pid}" in found["used"]["trouble"]
    assert "damaged.git" in found["bad"]["trouble"]
    # Each is named once in the log, and no mirror of the third has to wait for them.
    assert (
        len(re.findall(r"WARNING.* bad: ", daemon.text())) == len(re.findall(r"WARNING.* used: ", daemon.text())) == 1
    )
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, daemon.port()))
    assert house.refs(mirror) == house.refs(pub)
    # Once the other process has ended, a hangup is enough.
    assert other.end() == 0
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_stage("used", "running")
    assert daemon.end() == 0


def test_the_same_holds_for_repositories_that_are_named(house: House, pub: Path) -> None:
    bad = damaged(house)
    seeder = seed(house, bad, pub)
    assert "of 1 repository" in seeder.line
    assert [line for line in seeder.log.read_text().splitlines() if "tried again" in line and str(bad) in line]
    assert seeder.end() == 0
    # Where none of them can be seeded there is nothing to wait for.
    assert house.gtfs("seed", bad, house.root / "nowhere.git", "-o", "listen=127.0.0.1:0,nodht", code=3)


def test_repositories_come_and_go_while_it_runs_and_over_restarts(
    house: House, pub: Path, project: Path, key: Key
) -> None:
    other = another(house, project, key, "other")
    daemon = start(house, section("first", pub))
    assert daemon.ask("add", other).out == f"other is seeded from {other}\n"
    assert daemon.members()["other"] == {
        "name": "other", "source": str(other), "directory": str(other), "options": [], "origin": "gtfs seed add",
        "stage": "running", "trouble": None, "tries": 0, "damaged": False,
    }  # fmt: skip
    assert "already" in daemon.ask("add", other, "--name", "twice", code=2).line
    assert "is the name of" in daemon.ask("add", house.root / "other.git", code=2).line
    assert "no name of a repository" in daemon.ask("add", other, "--name", "../x", code=2).line
    assert "does not exist" in daemon.ask("add", "nowhere", code=3).line
    assert "[defaults]" in daemon.ask("add", pub, "--name", "p", "-o", "port=1", code=2).line
    assert "gtfs.conf:1" in daemon.ask("remove", "first", code=2).line
    assert "no repository" in daemon.ask("remove", "third", code=2).line
    assert daemon.end() == 0
    daemon = start(house, section("first", pub))
    assert set(daemon.members()) == {"first", "other"}
    assert daemon.ask("remove", "other").out.startswith("other is not seeded any more")
    assert set(daemon.members()) == {"first"} and other.exists()
    # Its lock is free again.
    house.gtfs("publish", other)
    assert daemon.end() == 0
    daemon = start(house, section("first", pub))
    assert set(daemon.members()) == {"first"}
    assert daemon.end() == 0
    assert "no daemon answers" in daemon.ask("list", code=3).line


def is_served(port: int, infohash: bytes) -> bool:
    """Whether who listens there has this torrent: else it hangs up without a word."""
    hello = b"\x13BitTorrent protocol" + bytes(8)
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as stream:
        stream.sendall(hello + infohash + b"-xx0000-" + os.urandom(12))
        try:
            said = stream.recv(68)
        except ConnectionResetError:
            return False
    return said.startswith(hello[:20])


def test_of_what_was_removed_nothing_is_served_any_more(house: House, pub: Path, project: Path, key: Key) -> None:
    other = another(house, project, key, "other")
    daemon = start(house, section("first", pub))
    daemon.ask("add", other)
    (first,), (second,) = (
        [hashlib.sha1(info_of(file.read_bytes())).digest() for file in (path / "gtfs/reels").glob("*.torrent")]
        for path in (pub, other)
    )
    assert first != second
    wait_for(lambda: is_served(daemon.port(), first) and is_served(daemon.port(), second), daemon.text)
    daemon.ask("remove", "other")
    assert is_served(daemon.port(), first) and not is_served(daemon.port(), second)
    # The same by a hangup.
    daemon.config.write_text("")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not daemon.members(), daemon.text)
    assert not is_served(daemon.port(), first)
    assert daemon.end() == 0


def test_a_hangup_stops_and_starts_only_what_changed(house: House, pub: Path, project: Path, key: Key) -> None:
    second, third = (another(house, project, key, name) for name in ("second", "third"))
    daemon = start(house, section("first", pub) + section("second", second))
    daemon.config.write_text(section("first", pub) + section("third", third))
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: set(daemon.members()) == {"first", "third"}, daemon.text)
    daemon.wait_stage("third", "running")
    house.gtfs("publish", second)  # its lock is free
    daemon.config.write_text(section("first", pub) + "[repositry]\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "stays as it was" in daemon.text(), daemon.text)
    assert f"{daemon.config}:3: there is no section [repositry]; did you mean repository?" in daemon.text()
    assert set(daemon.members()) == {"first", "third"}
    assert daemon.end() == 0


def test_a_mirror_is_made_kept_whole_and_follows(house: House, pub: Path) -> None:
    publisher = seed(house, pub)
    mirrors = house.root / "mirrors"
    daemon = start(
        house,
        f'[defaults]\n\tmirrors = {mirrors}\n\toptions = poll=1\n[repository "deep/pub"]\n\tsource = {catalogue(pub)}\n'
        f"\toptions = keyring={house.key.public}\n",
        f"peer=127.0.0.1:{publisher.port}",
    )
    mirror = mirrors / "deep" / "pub.git"
    house.keep_sound(mirror)
    wait_for(lambda: house.refs(mirror) == house.refs(pub), daemon.text)
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: house.refs(mirror) == house.refs(pub), daemon.text)
    assert daemon.end() == publisher.end() == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[repository "a"]\n\tpth = /a\n', "gtfs.conf:2: [repository] has no key pth; did you mean path?"),
        ('[defaults]\n\toptions = prot=1\n', "gtfs.conf:2: options = prot=1: "),
        ('[defaults]\n\toptions = offline\n', "gtfs.conf:2: options = offline: offline: there is nothing to seed"),
        ('[repository "a"]\n\tpath = /a\n\toptions = port=1\n', "gtfs.conf:3: options = port=1: port is nothing "),
    ],
)  # fmt: skip
def test_a_bad_configuration_is_exit_code_2_at_the_start(house: House, config: str, said: str) -> None:
    path = house.root / "gtfs.conf"
    path.write_text(config)
    done = house.gtfs("seed", "--config", path, code=2)
    assert said in done.err and done.err.count("\n") == 1


def test_a_second_daemon_on_the_same_state_is_told_whose_it_is(house: House, pub: Path) -> None:
    daemon = start(house, section("first", pub))
    done = house.run(["gtfs", "seed", "--config", daemon.config], env=daemon.env, code=6)
    assert f"process {daemon.process.pid} is the daemon of" in done.line
    assert daemon.end() == 0


def test_what_is_added_and_not_trusted_is_not_kept(house: House, pub: Path) -> None:
    daemon = start(house, "")
    assert "gtfs seed add SOURCE" in daemon.text()
    assert "keyring" in daemon.ask("add", catalogue(pub), "--name", "pub", code=4).line
    assert daemon.members() == {}
    done = daemon.ask("add", catalogue(pub), "--name", "pub", "-o", f"keyring={house.key.public}")
    assert done.out == f"pub is seeded from {house.root}/data/mirrors/pub.git\n"
    assert daemon.end() == 0


def test_what_is_offered_from_a_repository_of_the_daemons_is_seeded_at_once(
    house: House, pub: Path, stranger: Key
) -> None:
    publisher = seed(house, pub)
    mirror = house.root / "mirror.git"
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, publisher.port))
    daemon = start(house, f'[repository "mirror"]\n\tpath = {mirror}\n')
    daemon.wait_stage("mirror", "running")
    work = house.root / "work"
    house.run(["git", "clone", "-q", mirror, work])
    by = ("-c", f"user.signingkey={stranger.fingerprint}")
    env = {"GNUPGHOME": str(stranger.gnupg_home)}
    house.run(["git", "-C", work, *by, "commit", "-q", "--allow-empty", "-S", "-m", "offered"], env=env)
    words = ("--from", work, "--sign-key", stranger.fingerprint, "--gnupg-home", stranger.gnupg_home)
    fork = Path(house.run(["gtfs", "offer", mirror, *words, "--json"], env=daemon.env).json()["fork"])
    daemon.wait_stage("mirror/gtfs-fork", "running")
    assert house.gtfs("offer", mirror, "--list", "--json").json()["seeded"]
    # As the first publish was by the command, the next is by the daemon's node, and its new reel is seeded.
    house.run(["git", "-C", work, *by, "commit", "-q", "--allow-empty", "-S", "-m", "more"], env=env)
    assert house.gtfs("offer", mirror, "--from", work, "--json").json()["version"] == 2
    assert daemon.end() == 0
    house.keep_sound(mirror, fork)


def test_a_first_start_that_takes_long_holds_up_neither_the_log_nor_a_hangup(house: House, pub: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log, url = house.root / "rotated.log", f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        path = house.root / "gtfs.conf"
        slow = f'[log]\n\tfile = {log}\n[repository "slow"]\n\tsource = {url}\n\tdirectory = {house.root}/slow.git\n'
        path.write_text(slow)
        env = {"STATE_DIRECTORY": f"{house.root}/data", "RUNTIME_DIRECTORY": f"{house.root}/run"}
        words = ["gtfs", "-v", "seed", "--config", path, "-o", "listen=127.0.0.1:0,nodht,nolsd"]
        daemon = Daemon(house, house.start(words, env=env), log, path, env)
        wait_for(lambda: log.exists() and daemon.ask("list", code=None).code == 0, "its log is written, and it answers")
        daemon.wait_stage("slow", "starting")
        log.rename(log.with_suffix(".1"))
        path.write_text(slow + section("first", pub))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: log.exists() and daemon.members().keys() == {"first", "slow"}, "the hangup is heard")
        daemon.wait_stage("first", "running")
        wait_for(lambda: "the settings were read again" in daemon.text(), daemon.text)
        assert daemon.members()["slow"]["stage"] == "starting"
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(WAIT_S)
