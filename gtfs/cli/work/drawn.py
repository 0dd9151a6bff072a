# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature under what a running node has drawn: by the GnuPG, the agent and the terminal of whoever typed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.catalogue.cosign import Role
from gtfs.catalogue.issue import sign_together
from gtfs.ids import parse_fingerprint


def sign_drawn(drawn: dict[str, Any]) -> str:
    """The catalogue in a node's answer, clear-signed; raises `SigningFailed`, `TooFewKeys`, `GnupgUnusable`."""
    home = drawn["gnupg_home"]
    needed = [Role(tuple(map(parse_fingerprint, signers)), threshold) for signers, threshold in drawn["needed"]]
    own = parse_fingerprint(drawn["signer"])
    return sign_together(drawn["text"], needed, own, None if home is None else Path(home)).decode("ascii")
