# SPDX-License-Identifier: GPL-3.0-or-later
"""gpg on public keys alone: in a home of its own for a moment, without agent, settings, network or trust database.

It reads keyboxes and tells what keys say; signatures on what is followed are for gpgv. Blocking; any thread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gtfs.trust.child import ChildNotStarted, ChildTimedOut, ChildTooLoud, run_child
from gtfs.trust.gnupghome import GnupgUnusable, search_path

_TIMEOUT_S: Final = 300
_OUTPUT_BYTES: Final = 256 << 20
_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
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
        command = ["gpg", "--homedir", str(self.home), *_OPTIONS, *words]
        try:
            code, said = run_child(
                command, b"", str(self.home), environment=_ENVIRONMENT,
                timeout_s=_TIMEOUT_S, most_bytes=_OUTPUT_BYTES, cpu_s=_TIMEOUT_S,
            )  # fmt: skip
        except ChildTimedOut:
            raise GnupgUnusable(f"gpg needed more than {_TIMEOUT_S} s to read the keys") from None
        except ChildTooLoud:
            raise GnupgUnusable(f"gpg says more than {_OUTPUT_BYTES} bytes about the keys") from None
        except ChildNotStarted as error:
            raise GnupgUnusable(f"{error}; install the package gnupg") from error
        if code < 0:
            raise GnupgUnusable(f"gpg was ended by signal {-code} while it read the keys: are they damaged?")
        return said


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
