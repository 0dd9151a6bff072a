# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands started in odd ways or typed wrongly, and nodes that are told to read their settings again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from house import House, mounted_at
from seeding import seed
from waiting import WAIT_S, wait_for


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_reason_for_a_dead_mount(house: House, pub: Path, closed: str) -> None:
    directory, log = house.root / "A", house.root / "A.log"
    directory.mkdir()
    options = f"offline,logfile={log}"
    house.run(["sh", "-c", f'exec "$@" {closed}', "sh", "gtfs", "mount", pub, directory, "-o", options])
    m = house.adopt(directory, pub, 0, log)
    assert m.packs() == set(house.history(pub))
    for number in (0, 1, 2):
        assert os.path.exists(f"/proc/{m.pid}/fd/{number}")
    m.unmount()


@pytest.mark.parametrize("words", [["status"], ["publish"], ["sync"], ["fsck"], ["umount"]])
def test_no_command_trips_over_closed_descriptors(house: House, pub: Path, words: list[str]) -> None:
    # Of all three nothing can be said, but an exit code is what it is with them.
    more = ["-o", "offline"] if words == ["sync"] else []
    usual = house.run(["gtfs", *words, pub, *more], code=None).code
    closed = house.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", "gtfs", *words, pub, *more], code=None).code
    assert closed == usual


def test_sighup_reads_the_settings_and_opens_the_log_again_and_unmounts_nothing(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "poll=1h", expected=["settings stay as they were"])
    moved = house.root / "B.log.1"
    b.log.rename(moved)
    other = house.root / "other.asc"
    config = ["config", "--file", b.repository / "gtfs" / "config", "--add"]
    house.git(b.repository, *config, "gtfs.source", other)
    os.kill(b.pid, signal.SIGHUP)
    wait_for(b.log.exists, "the log is opened again")
    wait_for(lambda: str(other) in [f["feed"] for f in b.fresh_status()["feeds"]], "the new feed is asked")
    assert b.is_mounted() and b.alive()
    # What cannot be read changes nothing, and is said.
    house.git(b.repository, *config, "gtfs.policy", "refs/heads/** nonsense")
    os.kill(b.pid, signal.SIGHUP)
    wait_for(lambda: "the settings stay as they were" in b.text(), "it is said")
    assert b.is_mounted()
    house.git(b.repository, "config", "--file", b.repository / "gtfs" / "config", "--unset-all", "gtfs.policy")


def test_sighup_does_not_end_a_seed_without_a_terminal(house: House, pub: Path) -> None:
    log = house.root / "seeded.log"
    s = seed(house, pub, options=f"logfile={log}")
    wait_for(log.exists, "it logs there")
    log.rename(house.root / "seeded.log.1")
    s.process.send_signal(signal.SIGHUP)
    wait_for(log.exists, "the log is opened again")
    assert s.process.poll() is None
    assert s.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_a_waiting_mount_ends_its_child_too(house: House, number: signal.Signals) -> None:
    directory, mirror = house.root / "A", house.root / "a.git"
    directory.mkdir()
    # Nobody has this address, and the node named for the DHT is nobody: it waits.
    source = "gtfs:" + "ab" * 32
    options = f"repo={mirror},nolsd,listen=127.0.0.1:0,dht_node=127.0.0.1:9"
    process = house.start(["gtfs", "mount", source, directory, "-o", options])

    def child() -> int | None:
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        # It listens by then: trio has its signals.
        return int(found[0]) if found and len(os.listdir(f"/proc/{found[0]}/task")) > 1 else None

    waited_for = wait_for(child, "the child waits")
    process.send_signal(number)
    assert process.wait(WAIT_S) == 130
    assert not Path(f"/proc/{waited_for}").exists()
    assert not mounted_at(directory)


def test_what_is_typed_wrongly_says_what_to_do(house: House, pub: Path) -> None:
    empty = house.root / "empty"
    empty.mkdir()
    assert f"gtfs mount {pub} {empty}" in house.gtfs("mount", empty, pub, code=2).err
    assert "did you mean gtfs publish?" in house.gtfs("pubish", pub, code=2).err
    assert "did you mean gtfs status?" in house.gtfs("statsu", code=2).err
    for command in ("status", "sync", "publish", "keys"):
        assert f"nothing is mounted on {empty}" in house.gtfs(command, empty, code=3).line
    assert f"{empty}: it is not mounted" in house.gtfs("umount", empty, code=7).line
    a = house.mount(pub, "A", "offline")
    assert (
        f"is a mount of gtfs; give the repository that it shows, {pub}"
        in house.gtfs("mount", a.dir, empty, code=3).line
    )
    bare = house.empty("bare.git")
    assert "has nothing to seed" in house.gtfs("seed", bare, "-o", "listen=127.0.0.1:0,nodht", code=3).line
    assert "has no reels" in house.gtfs("torrent", bare, "--out", house.root / "out", code=3).line


@pytest.mark.parametrize(
    ("option", "value"),
    [("--tracker", "nonsense"), ("--web-seed", "udp://example.org:1"), ("--policy", "** local"), ("--policy", "x y"),
     ("--name", ""), ("--gnupg-home", "/nowhere")],
)  # fmt: skip
def test_init_writes_nothing_for_a_setting_that_no_catalogue_may_have(
    house: House, fresh: Path, option: str, value: str
) -> None:
    key = house.key
    words = ["init", fresh, "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home, option, value]
    done = house.gtfs(*words, code=2)
    assert any(words in done.err for words in (option, "policy line", "no home of GnuPG"))
    assert not (fresh / "gtfs").exists()


def test_a_publish_that_nobody_seeds_says_so_and_one_by_a_node_does_not(house: House, pub: Path) -> None:
    assert "note: no node of" in house.gtfs("publish", pub).out
    house.mount(pub, "A", "offline")
    assert "note:" not in house.gtfs("publish", pub).out


def test_a_sync_with_nothing_to_do_says_which_version_is_here(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    house.gtfs("sync", b.dir)
    assert house.gtfs("sync", b.dir).out.startswith("up to date: version 1; fetched ")


def test_ctrl_c_while_the_program_is_being_loaded_is_quiet() -> None:
    code = "import os, signal, gtfs.cli.main as m; m.open_standard_files = lambda: os.kill(os.getpid(), 2); m.main()"
    done = subprocess.run(["python", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
