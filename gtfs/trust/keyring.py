# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyrings: the user's files, or keys of the user's own GnuPG, merged into one small binary file that gpgv reads.

Keys never come from a key server or from peers. Copies of one key are merged part by part, so that a revocation in
one file counts against an older copy in another. Any thread; nothing here verifies a signature, gpgv does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import gnupg

from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.packets import (
    KEY_BLOCK,
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    SIGNATURE,
    USER_ATTRIBUTE,
    USER_ID,
    BadPackets,
    Packet,
    dearmor_all,
    key_fingerprint,
    read_packets,
)

# python-gnupg logs gpg's own warnings; what matters of them is in the errors that this station raises.
logging.getLogger("gnupg").propagate = False

KEYRING_BYTES: Final = 128 << 20  # Debian's, with 911 keys, has 30 MiB
SUFFIXES: Final = frozenset({".asc", ".gpg", ".pgp", ".key", ".kbx"})


class BadKeyring(GtfsError):
    """A keyring file whose contents are no usable public keys."""

    exit_code = 4

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"keyring {where}: {reason}")
        self.reason = reason


class MissingKeyring(BadKeyring):
    """A keyring, or a key in it, that is not there."""

    exit_code = 3


@dataclass(frozen=True)
class Keyring:
    """A frozen keyring: gpgv's file, the SHA-256 of its contents, and the primary keys in it."""

    path: Path
    digest: bytes
    primaries: frozenset[Fingerprint]


@dataclass
class _Part:
    """A primary key, user id or subkey as it was written, and the signatures on it, without repeats."""

    raw: bytes
    signatures: dict[bytes, bytes] = field(default_factory=dict)  # body to bytes with the header


_Key = dict[tuple[int, bytes], _Part]  # by place (see _ORDER) and body, which do not depend on the header's form

_REVOCATIONS: Final = frozenset({0x20, 0x28})  # RFC 4880 §5.2.1: of a key, of a subkey
_ORDER: Final = {PUBLIC_KEY: 0, USER_ID: 1, USER_ATTRIBUTE: 1, PUBLIC_SUBKEY: 2}  # RFC 4880 §11.1


def load_keyrings(paths: Sequence[Path], into: Path, *, only: frozenset[Fingerprint] | None = None) -> Keyring:
    """Merge files (armored or binary) and directories of them into the keyring file ``into``.

    In a directory the files with a keyring's suffix count. ``only`` keeps these primaries, because gpgv's time grows
    with the ring. Raises `BadKeyring`, `MissingKeyring`, OSError for ``into``.
    """
    keys: dict[Fingerprint, _Key] = {}
    for path in paths:
        for file in _files(path):
            _merge(keys, _read(file), str(file))
    if only is not None and not only & keys.keys():
        raise MissingKeyring(", ".join(map(str, paths)), f"no public key {', '.join(sorted(only))} in it")
    return _write(keys, into, only)


def export_user_keys(fingerprints: Iterable[Fingerprint], into: Path, gnupg_home: Path | None) -> Keyring:
    """A keyring of these keys out of a user's own GnuPG (None: the default one); raises `MissingKeyring`."""
    wanted = frozenset(fingerprints)
    try:
        gpg = gnupg.GPG(gnupghome=None if gnupg_home is None else str(gnupg_home))
    except (OSError, ValueError) as error:
        raise MissingKeyring("of GnuPG", f"gpg cannot be used: {error}") from error
    data = gpg.export_keys(sorted(wanted), armor=False) if wanted else b""
    keys: dict[Fingerprint, _Key] = {}
    _merge(keys, data if isinstance(data, bytes) else data.encode("latin-1"), "of GnuPG")
    missing = wanted - keys.keys()
    if missing:
        raise MissingKeyring("of GnuPG", f"no public key {', '.join(sorted(missing))}; import it with gpg --import")
    return _write(keys, into, wanted)


def open_keyring(path: Path) -> Keyring:
    """A keyring file that `load_keyrings` or `export_user_keys` wrote earlier."""
    data = _read(path)
    keys: dict[Fingerprint, _Key] = {}
    _merge(keys, data, str(path))
    return Keyring(path, hashlib.sha256(data).digest(), frozenset(keys))


def revoked_keys(ring: Keyring) -> frozenset[Fingerprint]:
    """The primaries that were revoked, or have a subkey that was, as far as the ring says; by anybody.

    gpgv tells of no revocation where a key has expired as well. Raises `BadKeyring`.
    """
    keys: dict[Fingerprint, _Key] = {}
    _merge(keys, _read(ring.path), str(ring.path))
    return frozenset(
        fingerprint
        for fingerprint, key in keys.items()
        for part in key.values()
        for raw in part.signatures.values()
        if _class_of(next(iter(read_packets(raw)))) in _REVOCATIONS
    )


def _class_of(signature: Packet) -> int:
    at = 2 if signature.body[:1] == b"\3" else 1  # RFC 4880 §5.2.2 and §5.2.3
    return int.from_bytes(signature.body[at : at + 1], "big")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise MissingKeyring(str(path), f"the directory has no file that ends in {' '.join(sorted(SUFFIXES))}")
    return found


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(KEYRING_BYTES + 1)
    except OSError as error:
        raise MissingKeyring(str(path), error.strerror or str(error)) from error
    if len(data) > KEYRING_BYTES:
        raise BadKeyring(str(path), f"over the limit keyring: more than {KEYRING_BYTES} bytes")
    return data


def _merge(keys: dict[Fingerprint, _Key], data: bytes, where: str) -> None:
    """Add the keys in ``data`` to ``keys``; raises `BadKeyring`."""
    if data[8:12] == b"KBXf":
        raise BadKeyring(where, "this is a keybox; write its keys to a file with gpg --export > FILE")
    if b"-----BEGIN PGP PRIVATE KEY BLOCK-----" in data:
        raise BadKeyring(where, "it holds a secret key; give the public one (gpg --export --armor)")
    try:
        binary = data if data[:1] >= b"\x80" else dearmor_all(data, KEY_BLOCK)
        if not binary:
            raise BadKeyring(where, "there is no OpenPGP public key in it")
        key: _Key | None = None
        part: _Part | None = None
        for packet in read_packets(binary):
            if packet.tag in (SECRET_KEY, SECRET_SUBKEY):
                raise BadKeyring(where, "it holds a secret key; give the public one (gpg --export --armor)")
            if packet.tag == PUBLIC_KEY:
                key, part = _primary(keys, packet), None
            if key is None:  # before the first key, or inside one of a version that gpgv cannot use
                continue
            if packet.tag in _ORDER:
                part = key.setdefault((_ORDER[packet.tag], packet.body), _Part(packet.raw))
            elif packet.tag == SIGNATURE and part is not None:
                part.signatures.setdefault(packet.body, packet.raw)
    except BadPackets as error:
        raise BadKeyring(where, error.reason) from None


def _primary(keys: dict[Fingerprint, _Key], packet: Packet) -> _Key | None:
    fingerprint = key_fingerprint(packet.body)
    return None if fingerprint is None else keys.setdefault(fingerprint, {})


def _write(keys: dict[Fingerprint, _Key], into: Path, only: frozenset[Fingerprint] | None) -> Keyring:
    chosen = sorted(fingerprint for fingerprint in keys if only is None or fingerprint in only)
    out = bytearray()
    for fingerprint in chosen:
        for _, part in sorted(keys[fingerprint].items(), key=lambda item: item[0][0]):
            out += part.raw
            out += b"".join(part.signatures.values())
    data = bytes(out)
    replace_file(into, data)
    return Keyring(into, hashlib.sha256(data).digest(), frozenset(chosen))
