# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyrings: the user's files, or keys of the user's own GnuPG, merged into one small binary file.

Keys never come from a key server or from peers. Copies of one key are merged part by part, so that a revocation in
one file counts against an older copy in another. A signature is shown to gpgv with the keys alone that may have made
it, so that no key spoils another. Any thread; nothing here verifies a signature, gpgv does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.armor import read_key_blocks
from gtfs.trust.gnupghome import open_gnupg
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.packets import BadPackets, key_id
from gtfs.trust.publickey import KeyReader, PublicKey, SecretKeyFound
from gtfs.trust.validity import Validity, ask_validity

log = logging.getLogger(__name__)

KEYRING_BYTES: Final = 128 << 20  # Debian's, with 911 keys, has 30 MiB
SUFFIXES: Final = frozenset({".asc", ".gpg", ".pgp", ".key", ".kbx"})
_COMPLAINTS: Final = 10  # said of one file
_SHOWN: Final = 16  # revocations that gpgv verifies at each signature
CLEAN: Final = "gtfs trust REPO remove it, and add a clean copy"

Keys = dict[Fingerprint, PublicKey]


class BadKeyring(GtfsError):
    """A keyring file whose contents are no usable public keys."""

    fault = Blame.TRUST

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"keyring {where}: {reason}")
        self.reason = reason


class MissingKeyring(BadKeyring):
    """A keyring, or a key in it, that is not there."""

    fault = Blame.SOURCE


@dataclass(frozen=True)
class Keyring:
    """A frozen keyring: its file, the SHA-256 of its contents, and the primary keys in it.

    ``named_only`` are primaries that count only where somebody names them: a mirror keeps those of its catalogue's
    signers, who need not be among those whom the user lets sign commits.
    """

    path: Path
    digest: bytes
    primaries: frozenset[Fingerprint]
    named_only: frozenset[Fingerprint] = frozenset()
    keys: Mapping[Fingerprint, PublicKey] = field(default_factory=dict, repr=False, compare=False)
    holders: Mapping[str, Sequence[Fingerprint]] = field(default_factory=dict, repr=False, compare=False)
    """The primaries by the key id of each of their parts: several, where one has a copy of another's subkey."""
    _validities: dict[tuple[Fingerprint, Fingerprint], Validity] = field(
        default_factory=dict, repr=False, compare=False
    )
    _floods: dict[Fingerprint, str | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def everybody(self) -> frozenset[Fingerprint]:
        """Who counts where nobody is named."""
        return self.primaries - self.named_only

    def with_named_only(self, primaries: Collection[Fingerprint]) -> Keyring:
        """The same with other `named_only`."""
        return replace(self, named_only=self.primaries & frozenset(primaries))

    def who_has(self, issuer: str) -> list[Fingerprint]:
        """The primaries that have a part of this fingerprint or key id, which is what a signature claims."""
        short = issuer if len(issuer) == 16 else key_id(issuer)
        return [primary for primary in self.holders.get(short, ()) if self.keys[primary].has(issuer)]

    def primary_of(self, fingerprint: Fingerprint) -> Fingerprint | None:
        """The primary key of which this is a subkey; None for a primary key and for what is not here."""
        if fingerprint in self.primaries:
            return None
        return next(iter(self.who_has(fingerprint)), None)

    def alone(self, primary: Fingerprint, part: Fingerprint) -> bytes:
        """What gpgv is to read for a signature by this part of a key: no other, and whom its owner lets revoke it.

        Raises `BadSignature` for a flooded key. Of many revocations none is shown: gpgv would verify all of them each
        time, and what they are worth `validity` finds out once.
        """
        self._refuse_flooded(primary)
        key = self.keys[primary]
        revocations = key.revocations(part)
        return key.with_only(part, revocations if len(revocations) <= _SHOWN else ()) + self.revokers(primary)

    def flood(self, primary: Fingerprint) -> str | None:
        """Why a key takes too long to be asked about, found out once."""
        if primary not in self._floods:
            self._floods[primary] = self.keys[primary].flood()
        return self._floods[primary]

    def _refuse_flooded(self, primary: Fingerprint) -> None:
        flood = self.flood(primary)
        if flood is not None:
            raise BadSignature(f"the key {primary} cannot be used: {flood}; {CLEAN}")

    def revokers(self, primary: Fingerprint) -> bytes:
        """The keys here that the owner of this one lets revoke it, as packets."""
        revokers = dict.fromkeys(self.keys[primary].revokers())
        here = [f for f in revokers if f != primary and f in self.keys and self.flood(f) is None]
        return b"".join(self.keys[f].to_bytes() for f in here)

    def validity(self, primary: Fingerprint, part: Fingerprint) -> Validity:
        """When this part of a key counts, asked once; raises `BadSignature`, `GpgvFailed`."""
        found = self._validities.get((primary, part))
        if found is None:
            self._refuse_flooded(primary)
            found = ask_validity(self.keys[primary], part, self.revokers(primary))
            self._validities[primary, part] = found
        return found


def load_keyrings(paths: Sequence[Path], into: Path, *, only: frozenset[Fingerprint] | None = None) -> Keyring:
    """Merge files (armored or binary) and directories of them into the keyring file ``into``.

    ``only`` keeps these primaries. Raises `BadKeyring`, `MissingKeyring`, OSError for ``into``.
    """
    keys = read_keyrings(paths)
    if only is not None:
        if not only & keys.keys():
            raise MissingKeyring(", ".join(map(str, paths)), f"no public key {', '.join(sorted(only))} in it")
        keys = {fingerprint: key for fingerprint, key in keys.items() if fingerprint in only}
    return freeze(keys, into)


def read_keyrings(paths: Sequence[Path]) -> Keys:
    """The keys in files and directories of them; in a directory the files with a keyring's suffix count.

    What gpgv could stumble over is left out with a warning. Raises `BadKeyring`, `MissingKeyring`.
    """
    keys: Keys = {}
    for path in paths:
        files = files_at(path)
        found: Keys = {}
        refused: BadKeyring | None = None
        for file in files:
            try:
                merge_keys(found, _parse(read_file(file), str(file)))
            except BadKeyring as error:  # of a directory the other files still count
                if len(files) > 1:
                    log.warning("%s; the file is left out", error)
                refused = error
        if refused is not None and not found:
            raise refused
        merge_keys(keys, found)
    return keys


def merge_keys(keys: Keys, more: Mapping[Fingerprint, PublicKey]) -> None:
    """Add keys, or what other copies of them have more, to ``keys``."""
    for fingerprint, key in more.items():
        keys.setdefault(fingerprint, PublicKey(fingerprint)).merge(key)


def read_user_keys(fingerprints: Iterable[Fingerprint], gnupg_home: Path | None) -> Keys:
    """Those of these keys, named by a primary or a subkey, that a user's own GnuPG has (None: the default one).

    Raises `GnupgUnusable`.
    """
    wanted = sorted(frozenset(fingerprints))
    if not wanted:
        return {}
    data = open_gnupg(gnupg_home).export_keys(wanted, armor=False)
    data = data if isinstance(data, bytes) else data.encode("latin-1")
    keys = _parse(data, "of GnuPG") if data else {}
    return {f: key for f, key in keys.items() if any(key.has(fingerprint) for fingerprint in wanted)}


def choose(wanted: Iterable[Fingerprint], keys: Mapping[Fingerprint, PublicKey], where: str) -> Keys:
    """Exactly the wanted keys; raises `MissingKeyring`, which knows a subkey's fingerprint from a primary key's."""
    chosen: Keys = {}
    for fingerprint in sorted(frozenset(wanted)):
        if fingerprint not in keys:
            refuse_subkey(fingerprint, keys)
            raise MissingKeyring(where, f"no public key {fingerprint}; import it with gpg --import")
        chosen[fingerprint] = keys[fingerprint]
    return chosen


def refuse_subkey(fingerprint: Fingerprint, keys: Mapping[Fingerprint, PublicKey]) -> None:
    """Raise `SubkeyNamed` where a key among ``keys`` has this only as a subkey."""
    if fingerprint not in keys:
        for primary, key in keys.items():
            if fingerprint in key.subkeys:
                raise SubkeyNamed(fingerprint, primary)


class SubkeyNamed(GtfsError):
    """A subkey where a primary key has to be named."""

    fault = Blame.USAGE

    def __init__(self, subkey: Fingerprint, primary: Fingerprint) -> None:
        super().__init__(f"{subkey} is a subkey; keys are named by their primary key: {primary}")
        self.primary = primary


def freeze(
    keys: Mapping[Fingerprint, PublicKey],
    into: Path,
    *,
    before: Keyring | None = None,
    stay: Collection[Fingerprint] = (),
    left: Path | None = None,
) -> Keyring:
    """Write a keyring file, at once and whole; nothing is written when it says so already. Raises OSError.

    Of the keyring ``before``, the keys in ``stay`` are kept, and of each key what the copy there has more: a
    revocation that was known once is not forgotten. Of keys that go it is kept in the file ``left``, for when they come
    back; raises `BadKeyring` for that.
    """
    merged: Keys = {}
    merge_keys(merged, keys)
    if before is not None:
        merge_keys(merged, {f: key for f, key in before.keys.items() if f in merged or f in stay})
    if left is not None:
        gone = dict(open_keyring(left).keys) if left.exists() else {}
        merge_keys(merged, {f: key for f, key in gone.items() if f in merged})
        leaving = {} if before is None else {f: key for f, key in before.keys.items() if f not in merged}
        # Not of a flooded one, which is removed so that a clean copy can come.
        news = {f: key for f, key in leaving.items() if key.has_revocation() and key.flood() is None}
        if news:
            merge_keys(gone, news)
            replace_file(left, _bytes_of(gone))  # before the ring that has it no more
    data = _bytes_of(merged)
    if before is None or hashlib.sha256(data).digest() != before.digest or not into.exists():
        replace_file(into, data)
    return _keyring(into, data, merged)


def _bytes_of(keys: Keys) -> bytes:
    return b"".join(keys[fingerprint].to_bytes() for fingerprint in sorted(keys))


def open_keyring(path: Path) -> Keyring:
    """A keyring file that `freeze` wrote earlier; raises `BadKeyring` for any fault, as it is our own."""
    data = read_file(path)
    reader = KeyReader()
    try:
        reader.read(data, strict=True)
    except BadPackets as error:
        raise BadKeyring(str(path), error.reason) from None
    return _keyring(path, data, reader.keys)


def keyring_of(keys: Keys) -> Keyring:
    """Keys that stand in no file, as a keyring."""
    return _keyring(Path(), _bytes_of(keys), keys)


def _keyring(path: Path, data: bytes, keys: Keys) -> Keyring:
    holders: dict[str, list[Fingerprint]] = {}
    for primary, key in sorted(keys.items()):
        for part in dict.fromkeys((primary, *key.subkeys)):
            holders.setdefault(key_id(part), []).append(primary)
    return Keyring(path, hashlib.sha256(data).digest(), frozenset(keys), frozenset(), keys, holders)


def files_at(path: Path) -> list[Path]:
    """A file itself, of a directory those with a keyring's suffix; raises `MissingKeyring`."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise MissingKeyring(str(path), f"the directory has no file that ends in {' '.join(sorted(SUFFIXES))}")
    return found


def read_file(path: Path) -> bytes:
    """The bytes of a keyring; raises `BadKeyring` over the limit, `MissingKeyring`."""
    try:
        with open(path, "rb") as file:
            data = file.read(KEYRING_BYTES + 1)
    except OSError as error:
        raise MissingKeyring(str(path), error.strerror or str(error)) from error
    if len(data) > KEYRING_BYTES:
        raise BadKeyring(str(path), f"over the limit keyring: more than {KEYRING_BYTES} bytes")
    return data


def parse_keys(data: bytes, where: str, tell: Callable[[str], None]) -> Keys:
    """The keys in a file's ``data``; ``tell`` hears what was left out. Raises `BadKeyring`."""
    if data[8:12] == b"KBXf":
        raise BadKeyring(where, "this is a keybox; write its keys to a file with gpg --export > FILE")
    if b"-----BEGIN PGP PRIVATE KEY BLOCK-----" in data:
        raise BadKeyring(where, "it holds a secret key; give the public one (gpg --export --armor)")
    reader = KeyReader()
    is_armored = b"-----BEGIN " in data and not (data[:1] >= b"\x80" and data[:3] != b"\xef\xbb\xbf")
    blocks, complaints = read_key_blocks(data) if is_armored else ([data] if data[:1] >= b"\x80" else [], [])
    for block in blocks:
        try:
            reader.read(block)
        except SecretKeyFound:
            raise BadKeyring(where, "it holds a secret key; give the public one (gpg --export --armor)") from None
        except BadPackets as error:
            complaints.append(error.reason)
    complaints += reader.complaints
    if not reader.keys:
        raise BadKeyring(where, complaints[0] if complaints else "there is no OpenPGP public key in it")
    for complaint in complaints[:_COMPLAINTS]:
        tell(complaint)
    if len(complaints) > _COMPLAINTS:
        tell(f"and {len(complaints) - _COMPLAINTS} more of the kind")
    return reader.keys


def _parse(data: bytes, where: str) -> Keys:
    """The same; what was left out is said in the log."""
    return parse_keys(data, where, lambda what: log.warning("keyring %s: %s", where, what))
