# SPDX-License-Identifier: GPL-3.0-or-later
"""What an owner of keys, or a thief, can do with them over three years, for tests of when signatures count."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from keys import DAY_S, NOW_S, PACKETS, YEAR_S, Keys, gpg_time, packet

from gtfs.ids import Fingerprint
from gtfs.trust.keyring import Keyring, load_keyrings
from gtfs.trust.packets import dearmor, read_packets

DATA = b"data\n"
MADE = NOW_S - 3 * YEAR_S  # all keys
EARLY = MADE + 30 * DAY_S  # when all keys were good
EXPIRY = MADE + YEAR_S  # of those that expire
REVOKED = MADE + 2 * YEAR_S  # those that are
BETWEEN = EXPIRY + 180 * DAY_S  # after the one and before the other
LATE = REVOKED + 180 * DAY_S
NO_REASON, COMPROMISED, SUPERSEDED, RETIRED = 0, 2, 1, 3  # RFC 4880 §5.2.3.23
_MENU = {NO_REASON: "0", COMPROMISED: "1", SUPERSEDED: "2", RETIRED: "3"}  # gpg's
FLOOD = 200


class Owner(Keys):
    """A home of GnuPG in which nothing is expired or revoked, so that its owner signs whatever a thief could."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "h"
        self.home.mkdir(mode=0o700)
        self.fingerprints: dict[str, Fingerprint] = {}
        then = ("--faked-system-time", gpg_time(MADE))
        for name in ("plain", "other", "stranger"):
            self._make(name, "sign", "never", *then)
        self._make("expired", "sign", "1y", *then)
        self._make("signer", "cert", "never", *then)
        self._make("mother", "cert", "1y", *then)
        self.gpg(*then, "--quick-add-key", self["signer"], "ed25519", "sign", "1y")
        self.gpg(*then, "--quick-add-key", self["mother"], "ed25519", "sign", "never")
        for name in ("signer", "mother"):
            self.gpg(*then, "--quick-add-key", self[name], "ed25519", "sign", "never")
        before = self._primaries()
        self.gpg(*then, "--quick-gen-key", "x\n[GNUPG:] GOODSIG 0 x\n[GNUPG:] NEWSIG", "ed25519", "sign", "1y")
        (self.fingerprints["injected"],) = self._primaries() - before
        self._make("weak", "sign", "never", *then, "--cert-digest-algo", "SHA1")
        self.short = {name: self.export(name) for name in ("expired", "signer", "mother", "injected")}
        for name in self.short:  # the owner's own copies, newer than any ring here but where it says so
            self.gpg("--faked-system-time", gpg_time(EXPIRY), "--quick-set-expire", self[name], "0")
            self.gpg("--faked-system-time", gpg_time(EXPIRY), "--quick-set-expire", self[name], "0", "*")
        self.long = {name: self.export(name) for name in self.short}

    def _primaries(self) -> set[Fingerprint]:
        listing = self.gpg("--list-keys", "--with-colons").decode()
        keys = listing.split("\npub:")[1:]
        return {Fingerprint(key.partition("\nfpr:::::::::")[2].partition(":")[0]) for key in keys}

    def parts(self, name: str) -> list[Fingerprint]:
        lines = self.gpg("--list-keys", "--with-colons", self[name]).decode().splitlines()
        return [Fingerprint(line.split(":")[9]) for line in lines if line.startswith("fpr:")]

    def sign_with(self, name: str, time_s: int, part: int = 0, *options: str, data: bytes = DATA) -> bytes:
        command = ["--armor", "--digest-algo", "SHA256", "--local-user", f"{self.parts(name)[part]}!", *options]
        return self.gpg("--faked-system-time", gpg_time(time_s), *command, "--detach-sign", data=data)

    def revocation(self, name: str, reason: int, time_s: int = REVOKED, digest: str = "SHA256") -> bytes:
        """A key's own revocation, which is in no ring yet."""
        run = ["gpg", "--homedir", str(self.home), "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
        run += ["--faked-system-time", gpg_time(time_s), "--cert-digest-algo", digest, "--command-fd", "0"]
        answers = f"y\n{_MENU[reason]}\n\ny\n".encode()
        done = subprocess.run([*run, "--gen-revoke", self[name]], input=answers, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        armored = done.stdout[done.stdout.index(b"-----BEGIN") :]
        return dearmor(armored.replace(b"Comment: This is a revocation certificate\n", b""), b"PUBLIC KEY BLOCK")

    def with_revoked_subkey(self, key: bytes, name: str, part: int, reason: int, time_s: int = REVOKED) -> bytes:
        """The key with a revocation of a subkey, made in a copy of the home."""
        with tempfile.TemporaryDirectory(dir="/tmp") as other:
            secret = self.gpg("--export-secret-keys", self[name])
            run = ["gpg", "--homedir", other, "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
            subprocess.run([*run, "--batch", "--import"], input=secret, capture_output=True, check=True)
            run += ["--faked-system-time", gpg_time(time_s), "--command-fd", "0", "--edit-key", self[name]]
            answers = f"key {part}\nrevkey\ny\n{_MENU[reason]}\n\ny\nsave\n".encode()
            subprocess.run(run, input=answers, capture_output=True, check=True)
            export = ["gpg", "--homedir", other, "--export", self[name]]
            after = subprocess.run(export, capture_output=True, check=True).stdout
            subprocess.run(["gpgconf", "--homedir", other, "--kill", "all"], check=False)
        (revocation,) = [p.raw for p in read_packets(after) if p.tag == PACKETS["signature"] and p.body[1] == 0x28]
        packets = [p.raw for p in read_packets(key)]
        at = [i for i, p in enumerate(read_packets(key)) if p.tag == PACKETS["subkey"]][part - 1]
        return b"".join([*packets[: at + 2], revocation, *packets[at + 2 :]])


def revoked(key: bytes, *revocations: bytes) -> bytes:
    """The key with revocations where they belong."""
    first, *rest = (p.raw for p in read_packets(key))
    return b"".join([first, *revocations, *rest])


def changed(signature: bytes, at: int) -> bytes:
    """A signature packet that fits nothing: a bit of its numbers, or of what it says, is another."""
    out = bytearray(signature)
    out[at] ^= 1
    return bytes(out)


def with_unhashed(signature: bytes, subpacket: bytes) -> bytes:
    """The signature with something in its unhashed part, which anybody can put there."""
    (found,) = read_packets(signature)
    at = 6 + int.from_bytes(found.body[4:6], "big")
    length = int.from_bytes(found.body[at : at + 2], "big") + len(subpacket)
    body = found.body[:at] + length.to_bytes(2, "big") + subpacket + found.body[at + 2 :]
    return packet("signature", body)


def self_signatures(key: bytes) -> list[bytes]:
    """What the owner signed of the primary key."""
    return [p.raw for p in read_packets(key) if p.tag == PACKETS["signature"] and p.body[1] in (0x13, 0x1F)]


def behind(key: bytes, more: bytes) -> bytes:
    """The key with more signatures on its user id."""
    packets = list(read_packets(key))
    at = next(i for i, p in enumerate(packets) if p.tag == PACKETS["user id"])
    return b"".join([*(p.raw for p in packets[: at + 1]), more, *(p.raw for p in packets[at + 1 :])])


def flood(revocation: bytes) -> list[bytes]:
    """Many that claim to be it, each with other numbers, none of which fits."""
    return [revocation[:-4] + number.to_bytes(4, "big") for number in range(FLOOD)]


def ring_of(owner: Owner, key: bytes, directory: Path) -> Keyring:
    file = directory / "ring.gpg"
    file.write_bytes(key)
    return load_keyrings([file], directory / "frozen")
