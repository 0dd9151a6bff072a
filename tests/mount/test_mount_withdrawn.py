# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that are withdrawn are gone for the kernel, too, whatever it was answered shortly before."""

from __future__ import annotations

import os
import subprocess

from test_mount_listing import Directory


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def there(directory, names):
    return {name for name in names if os.path.exists(directory / name)}


def test_packs_that_go_as_their_listing_is_answered_are_gone(fake_mount):
    # The kernel hears that they are to be forgotten before it has taken in that it was to know them: whoever lists
    # them gets no processor as long as the mount has something to do.
    m = fake_mount()
    one = f"{min(os.sched_getaffinity(0))}"
    run("taskset", "--all-tasks", "--pid", "--cpu-list", one, str(m.process.pid))
    listed = set()
    for _ in range(20):
        (m.dir / ".gtfs" / "arm").read_bytes()
        listed.update(run("taskset", "--cpu-list", one, "chrt", "--idle", "0", "ls", "-f", str(m.dir)).split())
    listed -= {".", ".."}
    assert len(listed) >= 8 * 20
    assert not os.listdir(m.dir)
    m.wait(lambda: not there(m.dir, listed), "none of them is there")


def test_packs_that_go_while_others_are_being_listed_are_not_listed_any_more(fake_mount):
    m = fake_mount(many=1000)
    before = set(os.listdir(m.dir))
    directory = Directory(m.dir)
    begun = [directory.read() for _ in range(10)]
    (m.dir / ".gtfs" / "lose").read_bytes()
    names = {os.fsdecode(name) for name in begun + directory.rest()} - {".", ".."}
    directory.close()
    gone = before - set(os.listdir(m.dir))
    assert len(gone) == 101
    assert names == before - gone
    m.wait(lambda: not there(m.dir, gone), "none of them is there")
