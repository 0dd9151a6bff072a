# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node writes down without being asked to, where, and how that is rotated; and what umount tells of a queue."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from house import House, Mount, mounted_at
from waiting import WAIT_S, wait_for

TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO gtfs\.events: "


def events(log: Path) -> list[str]:
    return [re.sub(TIME, "", line) for line in log.read_text().splitlines() if re.match(TIME, line)]


def mount_without_a_log(house: House, repository: Path, name: str, *options: str) -> Mount:
    directory = house.root / name
    directory.mkdir()
    words = ["-o", ",".join(["listen=127.0.0.1:0", *options])]
    done = house.gtfs("mount", repository, directory, *words)
    assert done.out + done.err == ""
    return house.adopt(directory, repository, 0, repository / "gtfs" / "node.log")


def test_a_mount_in_the_background_writes_a_line_for_each_event_beside_its_state(house: House, pub: Path) -> None:
    m = mount_without_a_log(house, pub, "A")
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    m.unmount()
    assert events(m.log) == [
        f"{pub} is mounted on {m.dir}",
        f"{pub}: published version 2",
        f"{m.dir} is unmounted",
    ]
    assert m.log.stat().st_mode & 0o077 in (0o040, 0)


def test_a_mirror_s_log_has_accepted_catalogues_moved_refs_and_what_was_refused(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "poll=1", "prefetch", expected=["refused"])
    wait_for(lambda: house.refs(b.repository) == house.refs(pub), "the mirror follows")
    wait_for(lambda: any(re.search("refs? moved", line) for line in events(b.log)), "it is said")
    found = events(b.log)
    assert found[0].endswith(f"is mounted on {b.dir}")
    moved = [line for line in found if re.search("refs? moved", line)]
    assert len(moved) == 1 and re.fullmatch(rf"{b.repository}: \d+ refs? moved", moved[0])
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: f"{b.repository}: 1 ref moved" in events(b.log), "the next move is said")
    assert f"{b.repository}: accepted catalogue 2 of project" in events(b.log)


def test_the_log_that_a_mount_keeps_by_itself_is_bounded(house: House, pub: Path) -> None:
    log = pub / "gtfs" / "node.log"
    with log.open("wb") as file:
        file.truncate((4 << 20) + 1)
    m = mount_without_a_log(house, pub, "A", "offline")
    before = log.with_name("node.log.1")
    begun = [f"{pub} is mounted on {m.dir}"]
    wait_for(lambda: before.exists() and log.exists() and events(log) == begun, "it begins anew")
    assert before.stat().st_size == (4 << 20) + 1
    m.unmount()
    assert events(log)[-1] == f"{m.dir} is unmounted"


SLOW_EVENTS = """
import logging, time

def late(record):
    time.sleep(1)
    return True

logging.getLogger("gtfs.events").addFilter(late)
"""


def test_a_mount_is_in_its_log_when_the_command_that_mounted_it_ends(house: House, pub: Path) -> None:
    slow = house.root / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_EVENTS)
    m = house.mount(pub, "A", "offline", env={"PYTHONPATH": str(slow)})
    assert events(m.log) == [f"{pub} is mounted on {m.dir}"]


@pytest.mark.parametrize("has_log", [True, False])
def test_sighup_rotates_and_never_unmounts_a_mount_in_the_background(house: House, pub: Path, has_log: bool) -> None:
    m = house.mount(pub, "A", "offline") if has_log else mount_without_a_log(house, pub, "A", "offline")
    m.log.rename(m.log.with_name("before"))
    for _ in range(3):  # as the postrotate of several lines of logrotate
        os.kill(m.pid, signal.SIGHUP)
    wait_for(lambda: m.log.exists() and f"{pub}: the settings were read again" in events(m.log), "it goes on there")
    assert m.is_mounted() and m.alive()
    m.unmount()


def test_sighup_ends_a_mount_in_the_foreground_only_when_its_terminal_has_gone(house: House, pub: Path) -> None:
    directory = house.root / "A"
    directory.mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        program = shutil.which("gtfs") or ""
        os.execve(program, [program, "-v", "mount", "-f", pub, directory, "-o", "offline"], house.environment)
    os.set_blocking(terminal, False)
    said = bytearray()

    def says(text: bytes) -> bool:
        with suppress(BlockingIOError):
            said.extend(os.read(terminal, 4096))
        return text in said

    try:
        wait_for(lambda: mounted_at(directory), "it is mounted")
        os.kill(pid, signal.SIGHUP)
        wait_for(lambda: says(b"the settings were read again"), lambda: f"it reads them; it said {bytes(said)!r}")
        assert mounted_at(directory)
        os.close(terminal)  # which sends SIGHUP
        wait_for(lambda: not mounted_at(directory), "it ends")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_below_a_service_manager_the_journal_gets_events_with_their_priority(house: House, pub: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        script = f"exec gtfs seed {pub} -o nolsd,nodht,listen=127.0.0.1:0"
        process = subprocess.Popen(
            ["sh", "-c", script],
            env={**house.environment, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        try:
            ours.settimeout(WAIT_S)
            said = ours.recv(4096).decode()
            assert re.fullmatch(r"<6>gtfs\.events: 1 repository is seeded on port \d+\n", said), said
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        assert ours.recv(4096) == b"<6>gtfs.events: SIGTERM: ending\n"


def test_a_terminal_or_a_pipe_gets_no_events(house: House, pub: Path) -> None:
    process = house.start(["gtfs", "seed", pub, "-o", "nolsd,nodht,listen=127.0.0.1:0"])
    assert process.stdout is not None and process.stdout.readline().startswith(b"seeding ")
    process.terminate()
    assert process.communicate(timeout=WAIT_S) == (b"", b"")


def test_umount_takes_in_what_was_written_before_it_unmounts(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    other = house.empty()
    b = house.mount(other, "B", "offline")
    for name in a.names():
        if name.endswith(".pack"):
            shutil.copyfile(a.dir / name, b.dir / name)
    b.unmount()
    assert set(house.history(pub)) <= house.objects(other)
    assert list((other / "gtfs" / "incoming").iterdir()) == []


def test_umount_without_waiting_says_what_is_queued_and_loses_nothing(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    other = house.empty()
    b = house.mount(other, "B", "offline", expected=["written packs? (is|are) kept", "not a git repository"])
    # Nothing can be taken in while git's place for objects cannot be written to.
    objects, away = other / "objects", other / "objects.away"
    objects.rename(away)
    for name in a.names():
        if name.endswith(".pack"):
            shutil.copyfile(a.dir / name, b.dir / name)
    done = house.gtfs("umount", "--no-wait", b.dir)
    away.rename(objects)
    b.ended = True
    wait_for(lambda: not b.alive(), "it ended")
    assert re.fullmatch(
        rf"gtfs: \d+ written packs are still queued.*: kept in {other}/gtfs/incoming, "
        rf"and taken in by the next node of {other}",
        done.line,
    )
    again = house.mount(other, "B2", "offline")
    wait_for(lambda: set(house.history(pub)) <= house.objects(other), lambda: f"all is taken in; {again.text()}")


def test_a_mount_stands_though_its_own_log_cannot_be_written(house: House, pub: Path) -> None:
    (pub / "gtfs" / "node.log").mkdir()
    directory = house.root / "A"
    directory.mkdir()
    house.gtfs("mount", pub, directory, "-o", "offline")
    assert mounted_at(directory)
    house.gtfs("umount", directory)
