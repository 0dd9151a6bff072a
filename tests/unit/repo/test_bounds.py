# SPDX-License-Identifier: GPL-3.0-or-later
"""What git says about the machine, and what about the objects."""

from __future__ import annotations

import errno

import pytest

from gtfs.repo.bounds import machine_fault
from gtfs.repo.repository import GitFailed

MACHINE = [
    b"fatal: Out of memory, malloc failed (tried to allocate 1073741824 bytes)",
    b"fatal: mmap failed: Cannot allocate memory",
    b"fatal: packfile ./objects/pack/pack-1.pack cannot be mapped: Cannot allocate memory",
    b"fatal: unable to create thread: Resource temporarily unavailable",
    b"error: packfile ./1.pack cannot be opened: Too many open files\nfatal: pack has 3 unresolved deltas",
    b"fatal: write error: Input/output error",
    b"fatal: sha1 file '/x/tmp_pack' write error: Disk quota exceeded",
    b"fatal: unable to create '/x/tmp_pack_1': Read-only file system",
    b"",
]
OBJECTS = [
    b"fatal: pack has 3 unresolved deltas",
    b"error in tree 1: hasDotdot: contains '..'\nfatal: fsck error in packed object",
    b"error in blob 1: gitmodulesName: disallowed submodule name: out of memory\nfatal: fsck error in packed object",
    b"fatal: pack is corrupted (SHA1 mismatch)",
]


@pytest.mark.parametrize("said", MACHINE)
def test_want_of_memory_disk_or_descriptors_is_the_machines(said: bytes) -> None:
    fault = machine_fault("index-pack", 128, said)
    assert isinstance(fault, GitFailed)
    assert fault.exit_code == 7


@pytest.mark.parametrize("said", OBJECTS)
def test_words_about_objects_are_no_fault_of_the_machine(said: bytes) -> None:
    assert machine_fault("index-pack", 128, said) is None


def test_a_child_that_was_killed_says_nothing_about_objects() -> None:
    fault = machine_fault("index-pack", -24, OBJECTS[0])
    assert "git index-pack was ended by SIGXCPU" in str(fault)


def test_a_full_disk_is_enospc() -> None:
    fault = machine_fault("index-pack", 128, b"fatal: write error: No space left on device")
    assert isinstance(fault, OSError)
    assert fault.errno == errno.ENOSPC
