# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents with the form of clear-signed ones, for tests of what comes after the signatures."""

from __future__ import annotations

from gtfs.catalogue.document import Catalogue
from gtfs.ids import Fingerprint
from gtfs.trust.packets import SIGNATURE_BLOCK, enarmor

A, B = Fingerprint("A" * 40), Fingerprint("B" * 40)
NOW_S = 1_800_000_000
DAY_S = 24 * 3600


def catalogue(version: int, previous: str | None = None, **changes: object) -> Catalogue:
    fields: dict[str, object] = {
        "repository": "demo",
        "version": version,
        "previous": previous,
        "date_s": NOW_S + version,
        "valid_until_s": NOW_S + 30 * DAY_S,
        "signers": (A,),
    }
    return Catalogue(**(fields | changes))  # type: ignore[arg-type]


def document(text: str, *signers: Fingerprint) -> bytes:
    """The text with packets that only look like signatures by ``signers`` (none: by A)."""
    packets = b""
    for signer in signers or (A,):
        issuer = bytes([22, 33, 4]) + bytes.fromhex(signer)
        body = bytes([4, 1, 22, 10]) + len(issuer).to_bytes(2, "big") + issuer + b"\0\0" + b"ab" + b"mpi"
        packets += bytes([0x88, len(body)]) + body
    armor = enarmor(packets, SIGNATURE_BLOCK)
    return b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text.encode() + armor
