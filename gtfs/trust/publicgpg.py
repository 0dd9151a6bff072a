# SPDX-License-Identifier: GPL-3.0-or-later
"""gpg on public keys alone: in a home of its own for a moment, without agent, settings, network or trust database.

It reads keyboxes and tells what keys say; signatures on what is followed are for gpgv. Blocking; any thread.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gtfs.trust.gnupghome import GnupgUnusable, search_path

_TIMEOUT_S: Final = 300
_OUTPUT_BYTES: Final = 256 << 20
_MEMORY_BYTES: Final = 1 << 30  # design.md §13, RLIMIT_AS of a child
_OPTIONS: Final = (
    "--no-options", "--batch", "--no-tty", "--no-autostart", "--disable-dirmngr", "--no-auto-key-locate",
    "--no-auto-check-trustdb", "--trust-model", "always", "--display-charset", "utf-8", "--with-colons",
    "--fixed-list-mode",
)  # fmt: skip


class PublicGpg:
    """gpg with ``home`` as its home; made by `public_gpg`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str) -> bytes:
        """What gpg prints; that it complains of some keys is no failure. Raises `GnupgUnusable`, OSError."""
        limits = ((resource.RLIMIT_AS, _MEMORY_BYTES), (resource.RLIMIT_CPU, _TIMEOUT_S))
        with tempfile.TemporaryFile(dir=self.home) as out:
            try:
                child = subprocess.Popen(
                    ["gpg", "--homedir", str(self.home), *_OPTIONS, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.DEVNULL,
                    cwd=self.home,
                    env={"PATH": search_path(), "LC_ALL": "C"},
                )
            except OSError as error:
                raise GnupgUnusable(f"gpg cannot be run ({error.strerror}); install the package gnupg") from error
            try:
                for what, most in (*limits, (resource.RLIMIT_FSIZE, _OUTPUT_BYTES)):
                    _limit(child.pid, what, most)
                code = child.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise GnupgUnusable(f"gpg needed more than {_TIMEOUT_S} s to read the keys") from None
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            if code < 0:
                raise GnupgUnusable(f"gpg was ended by signal {-code} while it read the keys: are they damaged?")
            out.seek(0)
            return out.read()


@contextmanager
def public_gpg() -> Iterator[PublicGpg]:
    """A home that is gone after the block; raises OSError."""
    with tempfile.TemporaryDirectory(prefix="gtfs-", ignore_cleanup_errors=True) as home:
        yield PublicGpg(Path(home))


def export_keybox(data: bytes) -> bytes:
    """The keys of a keybox, as packets; raises `GnupgUnusable`, OSError."""
    with public_gpg() as gpg:
        (gpg.home / "pubring.kbx").write_bytes(data)  # a copy: gpg makes locks and backups beside what it reads
        return gpg.run("--export")


def _limit(pid: int, what: int, most: int) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        lowest = min(most, *(limit for limit in resource.prlimit(pid, what) if limit != resource.RLIM_INFINITY), most)
        resource.prlimit(pid, what, (lowest, lowest))
