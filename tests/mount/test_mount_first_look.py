# SPDX-License-Identifier: GPL-3.0-or-later
"""A new mirror's mount stands before its packs are known: who looks for them waits, and nobody else does."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable

import pytest
from fakefs import make_pack
from waiting import WAIT_S

OLD = f"{make_pack(b'old')[0].hex()}.pack"


def looking(m, *looks: Callable[[], int | None]) -> tuple[list[threading.Thread], list[int | None]]:
    """Threads that look, all of which wait by now, and what they will have seen."""
    before = m.status()["lookers"]  # and the kernel looks up one new name of a directory at a time
    seen: list[int | None] = []
    threads = [threading.Thread(target=lambda look=look: seen.append(look())) for look in looks]
    for thread in threads:
        thread.start()
    m.wait(lambda: m.status()["lookers"] >= before + len(looks), "all of them wait")
    return threads, seen


def test_a_name_and_a_listing_wait_until_the_packs_are_known(fake_mount):
    m = fake_mount(late=True)
    threads, seen = looking(m, lambda: len(os.listdir(m.dir)), lambda: os.stat(m.dir / OLD).st_size)
    assert not seen
    (m.dir / ".gtfs" / "come").read_bytes()
    for thread in threads:
        thread.join(WAIT_S)
    assert set(seen) == {6, len(make_pack(b"old")[1])}
    assert m.status()["lookers"] == 2
    assert len(os.listdir(m.dir)) == 6
    assert m.status()["lookers"] == 2, "nobody waits any more"


def test_a_listing_that_has_come_to_what_is_known_waits_for_the_rest(fake_mount):
    m = fake_mount(late=True)
    threads, seen = looking(m, lambda: len(os.listdir(m.dir)))
    (m.dir / ".gtfs" / "begin").read_bytes()
    m.wait(lambda: m.status()["lookers"] >= 2, "the listing waits for the next name")
    assert not seen
    (m.dir / ".gtfs" / "come").read_bytes()
    threads[0].join(WAIT_S)
    assert seen == [6]


def test_a_listing_that_begins_before_all_is_known_has_each_pack_once(fake_mount):
    m = fake_mount(late=True)
    m.status()
    (m.dir / ".gtfs" / "begin").read_bytes()
    with os.scandir(m.dir) as entries:
        names = [next(entries).name]
        (m.dir / ".gtfs" / "come").read_bytes()
        names += [entry.name for entry in entries]
    assert len(set(names)) == len(names) == 6


def test_a_listing_ends_where_more_does_not_come_in_time(fake_mount):
    m = fake_mount("read_timeout=0.3", late=True)
    m.status()
    (m.dir / ".gtfs" / "begin").read_bytes()
    assert len(os.listdir(m.dir)) == 1


def test_other_names_do_not_wait(fake_mount):
    m = fake_mount(late=True)
    (m.dir / "a").write_bytes(b"a")
    assert (m.dir / "a").stat().st_size == 1
    assert not (m.dir / "b").exists()
    assert m.status()["lookers"] == 0


def test_who_looks_waits_no_longer_than_a_reader(fake_mount):
    m = fake_mount("read_timeout=0.3", late=True)
    assert os.listdir(m.dir) == []
    with pytest.raises(FileNotFoundError):
        os.stat(m.dir / OLD)


def test_a_looker_can_be_killed_and_an_end_of_the_mount_ends_the_wait(fake_mount):
    m = fake_mount(late=True)
    m.status()
    with subprocess.Popen(["ls", m.dir], stdout=subprocess.DEVNULL) as process:
        m.wait(lambda: m.status()["lookers"] == 1, "it waits")
        process.kill()
        process.wait(WAIT_S)

    def look() -> int | None:
        try:
            os.listdir(m.dir)
        except OSError as error:
            return error.errno
        return None

    threads, seen = looking(m, look, look)
    m.process.terminate()
    assert m.process.wait(WAIT_S) == 0
    for thread in threads:
        thread.join(WAIT_S)
    assert set(seen) <= {errno.ESHUTDOWN, errno.ECONNABORTED, errno.ENOTCONN}
