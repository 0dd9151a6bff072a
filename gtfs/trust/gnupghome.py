# SPDX-License-Identifier: GPL-3.0-or-later
"""Where gpg and its helpers are, and the user's GnuPG opened, or one line that says why it cannot be. Any thread."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gtfs.errors import Blame, GtfsError

if TYPE_CHECKING:
    import gnupg

# python-gnupg logs gpg's own warnings; what matters of them is in the errors that this station raises.
logging.getLogger("gnupg").propagate = False
logging.getLogger("gnupg").addHandler(logging.NullHandler())

_USUAL: Final = ("/usr/local/bin", "/usr/bin", "/bin")


_SOCKET_PATH_BYTES: Final = 107  # unix(7)


class GnupgUnusable(GtfsError):
    """gpg is not here, or cannot use the home that it was given; the text says what to do."""

    fault = Blame.SYSTEM


class BadGnupgHome(GnupgUnusable):
    """A home of GnuPG that is no directory."""

    fault = Blame.USAGE


def search_path() -> str:
    """Where to look for gpg, gpgv and gpgconf: the usual places first, then what PATH says beyond them."""
    # A relative directory would lead wherever the working directory is.
    more = [place for place in os.environ.get("PATH", "").split(":") if place.startswith("/")]
    return ":".join(dict.fromkeys((*_USUAL, *more)))


def open_gnupg(home: Path | None) -> gnupg.GPG:
    """A user's GnuPG (None: gpg's own default home); raises `GnupgUnusable`."""
    if home is not None and not home.is_dir():
        raise BadGnupgHome(f"{home} is no directory, so no home of GnuPG; gpg --version shows the default one (Home:)")
    program = shutil.which("gpg") or shutil.which("gpg", path=search_path())
    if program is None:
        raise GnupgUnusable("there is no gpg; install the package gnupg")
    try:
        return _gpg(program, None if home is None else os.fspath(home))
    except (OSError, ValueError) as error:
        raise GnupgUnusable(f"gpg cannot be used: {' '.join(str(error).split())}") from error


@lru_cache(maxsize=16)
def _gpg(program: str, home: str | None) -> gnupg.GPG:
    """One for each home: python-gnupg asks gpg for its version whenever one is made, and keeps nothing else."""
    import gnupg  # here: it takes long to load, and few commands ask a user's GnuPG

    gpg = gnupg.GPG(program, gnupghome=home)
    gpg.encoding = "utf-8"
    return gpg


def socket_trouble(home: Path | None) -> str | None:
    """Why gpg's agent cannot run for this home: its sockets lie there unless the system has a better place."""
    command = ["gpgconf", *(["--homedir", os.fspath(home)] if home is not None else []), "--list-dirs"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return None
    sockets = [line.partition(b":")[2] for line in done.stdout.splitlines() if b"-socket:" in line]
    if any(b"%3a" in socket.lower() for socket in sockets):
        return "the path of GnuPG's home has a colon, with which its agent does not start; move it"
    longest = max(map(len, sockets), default=0)
    if longest <= _SOCKET_PATH_BYTES:
        return None
    return (
        f"the path of GnuPG's home is too long by {longest - _SOCKET_PATH_BYTES} bytes for the sockets of its agent; "
        "give it a shorter one, or run gpgconf --create-socketdir"
    )
