# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount points, locks, ports, trackers and peers that are not as they should be."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from house import House, mounted_at, open_files
from ports import free_port
from waiting import WAIT_S, wait_for

from gtfs.state.lock import Lock

# A sync without peers moves no refs, and says so in the log.
STAYS = ["not verified here yet", "nothing came", "offline"]


def refused(house: House, *words: object, code: int) -> str:
    done = house.gtfs(*words, code=code)
    assert done.out == ""
    return done.line


def test_a_mount_point_that_cannot_be_used(house: House, pub: Path) -> None:
    missing, full, file = house.root / "missing", house.root / "full", house.root / "file"
    full.mkdir()
    (full / "x").write_text("in the way")
    file.write_text("no directory")
    assert f"{missing} does not exist: make it with mkdir" in refused(house, "mount", pub, missing, code=7)
    assert "is not empty" in refused(house, "mount", pub, full, code=7)
    assert "is not a directory" in refused(house, "mount", pub, file, code=7)
    a = house.mount(pub, "A", "offline")
    other = house.empty("other.git")
    assert "already mounted" in refused(house, "mount", other, a.dir, code=7)
    assert not (other / "gtfs").exists()
    a.kill_without_detaching()
    assert "detached the dead mount" in house.gtfs("mount", other, a.dir, "-o", "offline").line
    b = house.adopt(a.dir, other, 0, house.root / "B.log")
    assert b.names() == []
    b.unmount()
    assert "is not mounted" in refused(house, "umount", a.dir, code=7)


def test_options_that_nobody_knows_or_that_do_not_fit(house: House, pub: Path) -> None:
    m = house.root / "m"
    m.mkdir()
    for option, said in (
        ("nonsense", "unknown mount option 'nonsense'"),
        ("peer=nowhere", "not HOST:PORT"),
        ("read_timeout=soon", "not a time"),
        ("incoming_limit=much", "not a size"),
        ("signer=abc", "fingerprint"),
    ):
        assert said in refused(house, "mount", pub, m, "-o", option, code=2), option
    done = house.gtfs("mount", pub, code=2)
    assert "DIRECTORY" in done.err


@pytest.mark.parametrize("command", [["publish"], ["status"], ["verify", "HEAD"], ["trust", "list"], ["fsck"]])
def test_a_command_waits_for_a_node_that_begins_or_ends_and_for_no_other_command(
    house: House, pub: Path, command: list[str]
) -> None:
    words = [command[0], pub, *command[1:]] if command[0] != "trust" else ["trust", pub, *command[1:]]
    lock = pub / "gtfs" / "lock"
    with Lock(lock, is_node=True):
        process = house.start([*house.enter, "gtfs", *words])
        time.sleep(2)  # long enough to be refused
        assert process.poll() is None
    assert process.wait(WAIT_S) == 0
    with Lock(lock):
        line = refused(house, *words, code=6)
        assert f"in use by process {os.getpid()}" in line and "a command at work" in line


def test_a_mount_waits_for_a_node_that_ends(house: House, pub: Path) -> None:
    place = house.root / "mounted"
    place.mkdir()
    with Lock(pub / "gtfs" / "lock", is_node=True):
        process = house.start([*house.enter, "gtfs", "mount", pub, place, "-o", "offline,nolsd"])
        time.sleep(2)  # long enough to be refused
        assert process.poll() is None
    assert process.wait(WAIT_S) == 0
    house.gtfs("umount", place)


def test_a_second_node_on_the_same_repository(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    second = house.root / "second"
    second.mkdir()
    for command in (["mount", pub, second], ["fsck", pub], ["fsck", "--rebuild", pub]):
        line = refused(house, *command, code=6)
        assert f"in use by process {a.pid}" in line and "gtfs umount" in line
    assert not mounted_at(second)
    assert len(a.packs()) > 60
    # Those that can go through the node that runs.
    assert "nothing had changed" in house.gtfs("publish", pub).out
    assert house.gtfs("status", "--json", pub).json()["running"] is True


def test_a_port_that_is_taken(house: House, pub: Path) -> None:
    m = house.root / "m"
    m.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(house, "mount", pub, m, "-o", f"listen=127.0.0.1:{port}", code=7)
        assert str(port) in line
    assert not mounted_at(m)


def test_dead_trackers_do_no_harm_and_are_seen(house: House, pub: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}/announce"
    nowhere = "udp://tracker.invalid:6969/announce"
    a = house.mount(pub, "A", f"tracker={dead}", f"tracker={nowhere}")
    b = house.mount_mirror(a, "B", f"tracker={dead}", f"tracker={nowhere}")
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(pub)

    def trouble() -> bool:
        ((_, reel),) = b.fresh_status()["swarm"]["reels"].items()
        return dead in str(reel["trackers"])

    wait_for(trouble, "the dead tracker is in the status")


def test_a_read_with_no_peer_ends_at_the_deadline_and_offline_at_once(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "read_timeout=2")
    b.wait_listed()
    b.expected += STAYS
    old = house.git(pub, "rev-parse", "v1.0~2")
    a.unmount()
    assert errno_of_read(b.pack(old)) == errno.ETIMEDOUT
    done = house.run(["cat", b.pack(old)], code=1)
    assert done.err.count("\n") == 1 and "Connection timed out" in done.err
    # What is asked meanwhile is answered at once, and the mount stays up.
    assert len(b.packs()) == len(house.history(pub))
    house.run(["ls", "-l", b.dir])
    # What could be done is said, then what could not.
    done = house.gtfs("sync", b.dir, code=5)
    assert done.out.startswith("0 packs") and "nothing came" in done.err
    assert "(0 peers connected; -o peer=HOST:PORT names one" in done.err
    b.unmount()
    b = house.mount_mirror(a, "B", "offline")
    b.expected += STAYS
    assert errno_of_read(b.pack(old)) == errno.ENODATA
    assert "offline" in house.gtfs("sync", b.dir, code=5).err
    assert house.objects(b.repository) == set()


def test_a_new_mirror_without_a_peer_mounts_and_lists_when_one_comes(house: House, pub: Path) -> None:
    port = free_port()
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    options = [f"keyring={house.key.public}", f"peer=127.0.0.1:{port}", "table_timeout=1", "prefetch"]
    directory, log, mirror = house.root / "B", house.root / "B.log", house.root / "B.git"
    directory.mkdir()
    words = ["-o", ",".join([*options, f"repo={mirror}", f"logfile={log}", "listen=127.0.0.1:0", "poll=1"])]
    done = house.gtfs("mount", source, directory, *words)
    assert done.err == ""
    b = house.adopt(directory, mirror, 0, log, expected=["cannot be followed yet"])
    assert b.packs() == set()
    a_dir = house.root / "A"
    a_dir.mkdir()
    house.gtfs("mount", pub, a_dir, "-o", f"listen=127.0.0.1:{port},logfile={house.root / 'A.log'}")
    house.adopt(a_dir, pub, port, house.root / "A.log")
    wait_for(lambda: b.packs() == set(house.history(pub)), f"listed when a peer came; log:\n{b.text()}")
    wait_for(lambda: house.refs(mirror) == house.refs(pub), "and followed, as it shall prefetch")


def errno_of_read(path: Path) -> int | None:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    return None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "umount", "umount --lazy"])
def test_a_waiting_read_ends_at_once_with_the_mount(house: House, pub: Path, how: signal.Signals | str) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "read_timeout=10m")
    b.wait_listed()
    old = house.git(pub, "rev-parse", "v1.0~2")
    a.unmount()
    # A process of its own, as a thread of ours that the file system does not answer could not be killed.
    reader = house.start(["python3", "-c", f"open({str(b.pack(old))!r}, 'rb').read()"])
    wait_for(lambda: reads_in(b.dir, reader.pid), "it reads")
    if isinstance(how, signal.Signals):
        os.kill(b.pid, how)
    elif how == "umount":
        assert "busy" in house.gtfs("umount", b.dir, code=7).line
        os.kill(b.pid, signal.SIGTERM)
    else:
        house.gtfs("umount", "--lazy", b.dir)
    _, err = reader.communicate(timeout=WAIT_S)
    assert reader.returncode == 1 and b"Error: [Errno " in err
    wait_for(lambda: not b.alive(), "the node ended")
    b.detach()


def reads_in(directory: Path, pid: int) -> bool:
    """Whether the process has a file open there."""
    return any(name.startswith(f"{directory}/") for name in open_files(pid))


def test_a_read_can_be_interrupted(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "read_timeout=10m")
    b.wait_listed()
    old = house.git(pub, "rev-parse", "v1.0~2")
    a.unmount()
    reader = house.start(["cat", b.pack(old)])
    wait_for(lambda: reads_in(b.dir, reader.pid), "it reads")
    reader.send_signal(signal.SIGKILL)
    reader.communicate(timeout=WAIT_S)
    assert b.alive() and len(b.packs()) > 60


def test_publish_ends_on_ctrl_c_and_keeps_what_it_encoded(house: House, fresh: Path) -> None:
    words = ["--name", "project", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", fresh, *words)
    spool = fresh / "gtfs" / "spool"
    process = house.start(["gtfs", "publish", fresh, "--jobs", "1"])
    wait_for(lambda: spool.is_dir() or process.poll() is not None, "it encodes")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode in (130, 0), err
    assert b"Traceback" not in err
    house.gtfs("fsck", fresh)
    assert house.gtfs("publish", fresh).out.startswith("version 1")
    house.keep_sound(fresh)


def test_sync_ends_on_ctrl_c_with_130_and_the_node_goes_on(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    b.wait_listed()
    a.unmount()
    process = house.start(["gtfs", "sync", b.dir])
    wait_for(lambda: _connected(process.pid), "it asked the node")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    assert b.alive() and len(b.packs()) > 60


def _connected(pid: int) -> bool:
    return any("socket:" in name for name in open_files(pid))
