# SPDX-License-Identifier: GPL-3.0-or-later
"""gpg on public keys alone, which lie in memory: no home, agent, settings, network or trust database.

It reads keyboxes and tells what keys say; signatures on what is followed are for gpgv. Blocking; any thread.
"""

from __future__ import annotations

from typing import Final

from gtfs.trust.child import NO_HOME, ChildKilled, ChildNotStarted, ChildTimedOut, ChildTooLoud, InMemory, run_child
from gtfs.trust.gnupghome import GnupgUnusable, search_path

_TIMEOUT_S: Final = 300
_OUTPUT_BYTES: Final = 256 << 20
_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
_OPTIONS: Final = (
    "--no-options", "--batch", "--no-tty", "--no-autostart", "--disable-dirmngr", "--no-auto-key-locate",
    "--no-auto-check-trustdb", "--trust-model", "always", "--display-charset", "utf-8", "--with-colons",
    "--fixed-list-mode", "--lock-never", "--no-default-keyring",
)  # fmt: skip


class GnupgNotRun(GnupgUnusable):
    """gpg could not be run to its end, so nothing can be said about the keys."""


def ask_gpg(ring: InMemory, *words: str) -> bytes:
    """What gpg prints of the keys in ``ring``; that it complains of some is no failure.

    Raises `GnupgUnusable`, `GnupgNotRun`.
    """
    command: list[str | InMemory] = ["gpg", "--homedir", NO_HOME, *_OPTIONS, "--keyring", ring, *words]
    try:
        code, said = run_child(
            command, b"", environment=_ENVIRONMENT, timeout_s=_TIMEOUT_S, most_bytes=_OUTPUT_BYTES, cpu_s=_TIMEOUT_S
        )
    except ChildTimedOut:
        raise GnupgUnusable(f"gpg needed more than {_TIMEOUT_S} s to read the keys") from None
    except ChildTooLoud:
        raise GnupgUnusable(f"gpg says more than {_OUTPUT_BYTES} bytes about the keys") from None
    except ChildKilled as error:
        raise GnupgNotRun(str(error)) from error
    except ChildNotStarted as error:
        raise GnupgNotRun(f"{error}; install the package gnupg") from error
    if code < 0:
        raise GnupgUnusable(f"gpg was ended by signal {-code} while it read the keys: are they damaged?")
    return said


def keys_as_packets(packets: bytes) -> InMemory:
    """A ring of these packets."""
    return InMemory(packets, "gnupg-ring:")


def export_keybox(data: bytes) -> bytes:
    """The keys of a keybox, as packets; raises `GnupgUnusable`, `GnupgNotRun`."""
    return ask_gpg(InMemory(data), "--export")
