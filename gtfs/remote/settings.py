# SPDX-License-Identifier: GPL-3.0-or-later
"""What git's configuration says of a remote of ours: ``gtfs.KEY``, or ``remote.NAME.gtfs-KEY`` in its place.

It is read by git as the user's own git reads it: every file of it, ``-c``, and ``git clone --config``. Any thread.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gtfs.cli.nodeoptions import parse
from gtfs.errors import Blame, GtfsError
from gtfs.mount.options import escape_value
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import GitMissing
from gtfs.state.trustgiven import TrustGiven

# Each is a word of -o; `option` is any number of such words as they stand in -o.
_WORDS: Final = {"keyring": "keyring", "signer": "signer", "attester": "attester", "gnupghome": "gnupghome"}
_TRUST: Final = ("keyring", "signer", "attester")
_OPTION: Final = "option"
_KEEP: Final = "keepreels"
_TRUE: Final = ("", "true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")


class BadSetting(GtfsError):
    """A key of git's configuration that cannot be understood."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class RemoteSettings:
    """What is set; ``own_trust``: the key that says for this one remote whom to believe, if any does."""

    node: NodeOptions
    trust: TrustGiven
    keeps_reels: bool
    own_trust: str | None


def read_settings(remote: str) -> RemoteSettings:
    """Of a remote (a name, or an address that has none). Raises `BadSetting`, what `parse` raises, `GitMissing`."""
    return settings_of(remote, _read())


def _read() -> bytes:
    # In the environment of whoever runs git, which names the repository and what -c said.
    asked = ["git", "config", "--null", "--get-regexp", r"^(gtfs\.|remote\..*\.gtfs-)"]
    try:
        return subprocess.run(asked, capture_output=True, check=False).stdout
    except FileNotFoundError:
        raise GitMissing from None


def settings_of(remote: str, said: bytes) -> RemoteSettings:
    """The same from what git config says, each item ended by a NUL."""
    general: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    prefix = f"remote.{remote}.gtfs-"
    for item in said.split(b"\0"):
        key, _, value = os.fsdecode(item).partition("\n")
        if key.startswith(prefix):
            own.setdefault(key.removeprefix(prefix), []).append(value)
        elif key.startswith("gtfs.") and key.count(".") == 1:
            general.setdefault(key.removeprefix("gtfs."), []).append(value)
    found = {**general, **own}
    given = parse(_words(found))
    keeps = found.get(_KEEP, ["false"])[-1].lower()
    if keeps not in (*_TRUE, *_FALSE):
        raise BadSetting(f"gtfs.keepReels is {keeps}: neither true nor false")
    trust = next((f"{prefix}{key}" for key in _TRUST if key in own), None)
    return RemoteSettings(given.node, given.trust, keeps in _TRUE, trust)


def _words(found: Mapping[str, Sequence[str]]) -> list[str]:
    words = [f"{word}={escape_value(value)}" for key, word in _WORDS.items() for value in found.get(key, ())]
    return words + list(found.get(_OPTION, ()))
