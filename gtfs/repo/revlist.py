# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``git rev-list`` gives of any number of commits, line by line while it walks. Any thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator, Iterable, Sequence
from typing import Final

from gtfs.repo.repository import GitFailed, GitMissing, Repository, git_environment

_SAID_BYTES: Final = 64 << 10  # of the end of what git says, whose last line is why it failed


def rev_list(
    repository: Repository, args: Sequence[str], asked: Iterable[bytes], *, settings: Sequence[str] = ()
) -> Generator[bytes, None, None]:
    """The lines of ``git SETTINGS rev-list ARGS --stdin`` for what is ``asked``: ids in hex, with ``^`` or without.

    Who has heard enough closes it, which ends git. Raises `GitFailed`, `GitMissing`.
    """
    command = ["rev-list", *args, "--stdin"]
    said = os.memfd_create("stderr", os.MFD_CLOEXEC)  # of a pipe that is full git would wait for a reader
    try:
        try:
            process = subprocess.Popen(
                repository.command(*settings, *command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=git_environment(),
            )
        except FileNotFoundError:
            raise GitMissing from None
        with process:
            try:
                assert process.stdin and process.stdout
                # rev-list reads all of its input before it writes, so this cannot deadlock.
                with contextlib.suppress(BrokenPipeError):  # git has ended, and says why
                    process.stdin.write(b"".join(word + b"\n" for word in asked))
                    process.stdin.close()
                yield from process.stdout
                process.wait()
            finally:
                process.kill()
        if process.returncode:
            size = os.fstat(said).st_size
            end = os.pread(said, _SAID_BYTES, max(0, size - _SAID_BYTES))
            raise GitFailed(command, process.returncode, end)
    finally:
        os.close(said)


def in_hex(oids: Iterable[bytes]) -> Iterable[bytes]:
    """As git is asked for them."""
    return (oid.hex().encode() for oid in oids)
