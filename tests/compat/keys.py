# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPGP keys for tests, made once a process in a GnuPG home of their own; its agent ends with the process.

``Keys.sign`` drives gpg directly, so that a test can ask for what gtfs's own `Signer` never makes.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from gtfs.ids import Fingerprint
from gtfs.trust.keyring import Keyring, load_keyrings
from gtfs.trust.packets import read_packets

PACKETS = {"signature": 2, "key": 6, "user id": 13, "subkey": 14, "attribute": 17}
DAY_S = 24 * 3600
YEAR_S = 365 * DAY_S
NOW_S = int(time.time())  # for what is made; long runs judge by `now_s`, as what signs in them looks at the clock


def now_s() -> int:
    return int(time.time())


def gpg_time(time_s: int) -> str:
    """For --faked-system-time: a clock that stands still, else a key is made later than what comes after it begins."""
    return time.strftime("%Y%m%dT%H%M%S!", time.gmtime(time_s))


def packet(kind: str | int, body: bytes) -> bytes:
    """One packet with a new-format header."""
    tag = PACKETS[kind] if isinstance(kind, str) else kind
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def subkey_packets(key: bytes) -> bytes:
    """The first subkey of an exported key, with the signature that binds it."""
    packets = list(read_packets(key))
    at = next(i for i, found in enumerate(packets) if found.tag == PACKETS["subkey"])
    return packets[at].raw + packets[at + 1].raw


class Keys:
    """The keys by name; all but expired are 30 days old.

    alice, bob: plain keys. carol: a primary that only certifies, and a signing subkey. expired: three years old,
    valid for one. revoked: revoked now. mallory: in no keyring.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "h"
        self.home.mkdir(mode=0o700, parents=True)
        self.fingerprints: dict[str, Fingerprint] = {}
        month = ("--faked-system-time", gpg_time(NOW_S - 30 * DAY_S))
        for name in ("alice", "bob", "revoked", "mallory"):
            self._make(name, "sign", "never", *month)
        self._make("carol", "cert", "never", *month)
        self.gpg(*month, "--quick-add-key", self["carol"], "ed25519", "sign", "never")
        old = gpg_time(NOW_S - 3 * YEAR_S)
        self._make("expired", "sign", "1y", "--faked-system-time", old)
        self.signed_by_revoked = self.sign(b"data\n", "revoked")
        self.signed_by_expired = self.sign(b"data\n", "expired", time_s=NOW_S - 3 * YEAR_S + 3600)
        self.unrevoked = self.export("revoked")
        self._revoke("revoked")
        self.public = directory / "public.gpg"
        everybody = [fpr for name, fpr in self.fingerprints.items() if name != "mallory"]
        self.public.write_bytes(self.gpg("--export", *everybody))
        self.ring = self.keyring("ring.gpg", self.public)

    def __getitem__(self, name: str) -> Fingerprint:
        return self.fingerprints[name]

    def gpg(self, *args: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", *args]
        done = subprocess.run(command, input=data, capture_output=True, env={"PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def _make(self, name: str, usage: str, expire: str, *options: str) -> None:
        before = set(self.fingerprints.values())
        self.gpg(*options, "--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", usage, expire)
        listing = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        keys = [Fingerprint(line.split(":")[9]) for line in listing if line.startswith("fpr:")]
        (self.fingerprints[name],) = [key for key in keys if key not in before and self._is_primary(key, listing)]

    @staticmethod
    def _is_primary(key: Fingerprint, listing: list[str]) -> bool:
        at = next(i for i, line in enumerate(listing) if line.startswith("fpr:") and key in line)
        return listing[at - 1].startswith("pub:")

    def _revoke(self, name: str) -> None:
        text = (self.home / "openpgp-revocs.d" / f"{self[name]}.rev").read_text()
        self.gpg("--import", data=text.replace(":-----BEGIN", "-----BEGIN").encode())

    def export(self, *names: str) -> bytes:
        return self.gpg("--export", *(self[name] for name in names))

    def keyring(self, name: str, *paths: Path) -> Keyring:
        return load_keyrings(paths, self.directory / name)

    def sign(
        self,
        data: bytes,
        *names: str,
        how: str = "--detach-sign",
        digest: str = "SHA256",
        time_s: int | None = None,
        options: tuple[str, ...] = (),
    ) -> bytes:
        """An armored signature, or a clear-signed document (``how="--clearsign"``), by each of ``names``."""
        args = ["--armor", "--digest-algo", digest, *options]
        for name in names:
            args += ["--local-user", self[name]]
        if time_s is not None:
            args += ["--faked-system-time", gpg_time(time_s)]
        return self.gpg(*args, how, data=data)

    def clearsign(self, text: bytes, *names: str, **options: object) -> bytes:
        return self.sign(text, *names, how="--clearsign", **options)  # type: ignore[arg-type]

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


@functools.cache
def shared_keys() -> Keys:
    """The keys of this process; a test must not change them."""
    directory = Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp"))
    keys = Keys(directory)
    atexit.register(keys.close)
    return keys
