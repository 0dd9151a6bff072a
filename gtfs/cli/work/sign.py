# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature under what a running node has drawn: by the GnuPG, the agent and the terminal of whoever typed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.ids import parse_fingerprint
from gtfs.trust.sign import Signer


def sign(drawn: dict[str, Any]) -> str:
    """The catalogue in a node's answer, clear-signed; raises `SigningFailed`, `GnupgUnusable`."""
    home = drawn["gnupg_home"]
    signer = Signer(parse_fingerprint(drawn["signer"]), None if home is None else Path(home))
    return signer.clearsign(drawn["text"]).decode("ascii")
