# SPDX-License-Identifier: GPL-3.0-or-later
"""Making signatures with a key of the user's GnuPG; with the node's own, `gtfs.trust.nodekey` does.

The user's gpg-agent is used and left alone. Any thread; a call waits for gpg, and the key may ask for a passphrase.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gtfs.errors import GtfsError
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.trust.gnupghome import open_gnupg, socket_trouble
from gtfs.trust.packets import SIGNATURE_BLOCK, STRONG_DIGESTS, BadPackets, claim_of, dearmor, only_signatures
from gtfs.trust.verify import LINE_BYTES, SIGNATURE_BYTES, BadSignature, split_clearsigned

DIGEST: Final = "SHA512"  # long enough for every curve; gpg cuts it for smaller keys

_HINTS: Final = (
    ("in the future", "the key is younger than this machine's clock says; is the clock right?"),
    ("No secret key", "gpg --list-secret-keys shows the keys that can sign"),
    ("Unusable secret key", "it may be expired, revoked or unable to sign: gpg --edit-key shows it"),
    ("ioctl", "the agent cannot ask for the passphrase: export GPG_TTY=$(tty) and try again"),
    ("No pinentry", "the agent cannot ask for the passphrase: install a pinentry package"),
    ("Timeout", "the agent waited in vain for the passphrase"),
    ("cancelled", "the passphrase was not given"),
    ("canceled", "the passphrase was not given"),
    ("Bad passphrase", "the passphrase was wrong"),
)
_ALONE: Final = "its passphrase is asked of nobody here: type gtfs publish, or see gtfs init --signing-subkey"
_ALONE_HINTS: Final = (("No pinentry", _ALONE), *_HINTS)


class SigningFailed(GtfsError):
    """gpg made no signature; the text is gpg's own reason and what to do about it."""


class Signer:
    """A key that can sign: ``fingerprint`` is its primary key's, ``gnupg_home`` None the user's own GnuPG.

    Unless ``asks``, nobody is there to give a passphrase: the agent is not to ask for one.
    """

    def __init__(self, fingerprint: Fingerprint, gnupg_home: Path | None = None, *, asks: bool = True) -> None:
        self.fingerprint = fingerprint
        self._home = gnupg_home
        self._asks = asks
        self._gpg = open_gnupg(gnupg_home)

    def clearsign(self, text: str) -> bytes:
        """The text clear-signed, UTF-8; raises `SigningFailed`, also for lines that gpg would change or cut."""
        data = text.encode()
        if not data.endswith(b"\n"):
            raise SigningFailed("a text to sign must end with a newline")
        if any(len(line) > LINE_BYTES for line in data.split(b"\n")):
            raise SigningFailed(f"over the limit line: a line has more than {LINE_BYTES} bytes")
        document = self._sign(data, clearsign=True)
        try:
            signed, packets = split_clearsigned(document)
        except BadSignature as error:
            raise SigningFailed(f"gpg made a clear-signed text that gtfs refuses: {error.reason}") from None
        if signed != data:
            raise SigningFailed("gpg changed the text while signing it")
        if len(packets) != 1 or claim_of(packets[0]).digest not in STRONG_DIGESTS:
            raise SigningFailed("gpg made more than one signature, or a weak one; look into gpg.conf")
        return document

    def detach_sign(self, data: bytes) -> bytes:
        """An armored detached signature (class 00) over ``data``; raises `SigningFailed`."""
        armored = self._sign(data, clearsign=False)
        try:
            claim = claim_of(only_signatures(dearmor(armored, SIGNATURE_BLOCK), 1, SIGNATURE_BYTES)[0])
        except BadPackets as error:
            raise SigningFailed(f"gpg made a signature that gtfs refuses: {error.reason}") from None
        if claim.sig_class != 0 or claim.digest not in STRONG_DIGESTS:
            raise SigningFailed("gpg made a weak or text-mode signature; look into gpg.conf")
        return armored

    def user_id(self) -> str:
        """Whom the key names first, "" where GnuPG does not have it."""
        found = self._gpg.list_keys(keys=[self.fingerprint])
        return next((str(uid) for key in found for uid in key["uids"]), "")

    def public_key(self) -> bytes:
        """The armored public half, for the keyrings of others."""
        return str(self._gpg.export_keys(self.fingerprint)).encode("ascii")

    def _sign(self, data: bytes, *, clearsign: bool) -> bytes:
        # --local-user, not python-gnupg's --default-key: with that one gpg may quietly take another key.
        args = ["--local-user", self.fingerprint, "--digest-algo", DIGEST, "--no-comments", "--no-emit-version"]
        args += () if self._asks else ("--pinentry-mode", "error")
        result = self._gpg.sign_file(io.BytesIO(data), clearsign=clearsign, detach=not clearsign, extra_args=args)
        if not result or not result.data:
            stderr = str(result.stderr)
            why = reason_of(stderr, _HINTS if self._asks else _ALONE_HINTS)
            if "agent" in stderr and (trouble := socket_trouble(self._home)):
                why = trouble
            raise SigningFailed(f"cannot sign with {self.fingerprint}: {why}")
        return bytes(result.data)


def secret_keys(gnupg_home: Path | None) -> frozenset[Fingerprint]:
    """The primary keys that a user's GnuPG (None: the default one) can sign with, or a card of; `GnupgUnusable`."""
    return frozenset(parse_fingerprint(key["fingerprint"]) for key in open_gnupg(gnupg_home).list_keys(secret=True))


def reason_of(stderr: str, hints: Iterable[tuple[str, str]] = _HINTS) -> str:
    """The last thing that gpg said, and what can be done about it."""
    said = [line.removeprefix("gpg: ") for line in stderr.splitlines() if line.startswith("gpg: ")]
    reason = said[-1] if said else "gpg gives no reason"
    hint = next((hint for word, hint in hints if word in stderr), "")
    return f"{reason} ({hint})" if hint else reason
