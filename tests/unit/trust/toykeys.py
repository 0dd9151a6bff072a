# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys without secret ones, and policies that hold them: enough for what verifies nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from gtfs.ids import Fingerprint
from gtfs.trust.packets import KEY_BLOCK, enarmor

RIGHTS = ("sign_commit", "sign_tag", "sign_archive", "add_user", "retire_user", "audit")


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def key_body(name: str) -> bytes:
    """An RSA key packet's body, one for each name."""
    number = b"\xff" + hashlib.sha256(name.encode()).digest()
    return b"\x04\0\0\0\1\1" + (8 * len(number)).to_bytes(2, "big") + number + b"\0\x11\1\0\1"


def fingerprint(name: str) -> Fingerprint:
    body = key_body(name)
    return Fingerprint(hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper())


def _signature(sig_class: int, mark: bytes) -> bytes:
    number = (8 * len(mark)).to_bytes(2, "big") + mark
    return _packet(2, b"\x04" + bytes([sig_class]) + b"\x01\x08\0\0\0\0\0\0" + number)


def key_packets(name: str, *, revoked: bool = False, user_ids: tuple[str, ...] = ()) -> bytes:
    out = _packet(6, key_body(name)) + (_signature(0x20, b"revoked") if revoked else b"")
    return out + b"".join(_packet(13, user_id.encode()) + _signature(0x13, b"uid") for user_id in user_ids)


def armored(name: str, *, revoked: bool = False, user_ids: tuple[str, ...] = ()) -> str:
    return enarmor(key_packets(name, revoked=revoked, user_ids=user_ids), KEY_BLOCK).decode()


def table(name: str, rights: str = "sign_commit", *keyrings: str) -> str:
    """A user's part of an openpgp-policy.toml; ``rights`` are separated by spaces; the key is of the same name."""
    lines = [f'[authorization."{name}"]', *(f"{right} = true" for right in rights.split())]
    return "\n".join([*lines, 'keyring = """', *(keyrings or (armored(name),)), '"""', ""])


def policy(users: Mapping[str, str] | None = None, *tables: str, goodlist: tuple[str, ...] = ()) -> bytes:
    """An openpgp-policy.toml of users with their rights (separated by spaces), and of whole tables."""
    good = ", ".join(f'"{oid}"' for oid in goodlist)
    parts = [table(name, rights) for name, rights in (users or {}).items()]
    return "\n".join(["version = 0", f"commit_goodlist = [{good}]", "", *parts, *tables]).encode()


def guix(*signers: str, version: int = 0) -> bytes:
    entries = "\n  ".join(f'("{signer}" (name "somebody"))' for signer in signers)
    return f";; who may\n(authorizations\n (version {version}) ; the only one\n ({entries}))\n".encode()
