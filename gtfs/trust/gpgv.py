# SPDX-License-Identifier: GPL-3.0-or-later
"""One signature packet, one run of gpgv, one judgement of everything that gpgv said (design.md §10).

gpgv exits 0 for signatures by expired and by revoked keys, so its exit code is only one of the conditions, and
whatever it says beyond the few expected status words refuses. May be called from any thread; it waits for the child.
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.gnupghome import search_path
from gtfs.trust.packets import STRONG_DIGESTS, key_id

FUTURE_S: Final = 300  # design.md §5: clocks may differ by this much
MEMORY_BYTES: Final = 1 << 30  # design.md §13, RLIMIT_AS of a child
CPU_S: Final = 20
TIMEOUT_S: Final = 300  # CPU_S ends it before, so that a loaded machine judges as an idle one does
STATUS_BYTES: Final = 256 << 10  # notations of a 16 KiB signature, escaped, stay far below

_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
# KEYEXPIRED is said of every expired signing part of the key, and of a good one beside it; of the part that signed, or
# of its primary key, EXPKEYSIG says it in the place of GOODSIG.
_HARMLESS: Final = frozenset({"KEY_CONSIDERED", "SIG_ID", "POLICY_URL", "KEYEXPIRED"})
NOT_IN_RING: Final = "the key that signed is not in the keyring"
_ONCE: Final = ("NEWSIG", "GOODSIG", "VALIDSIG")
_REASONS: Final = {
    "BADSIG": "the signature does not fit the data",
    "ERRSIG": "the signature cannot be checked",
    "NO_PUBKEY": NOT_IN_RING,
    "EXPKEYSIG": "the key that signed has expired",
    "REVKEYSIG": "the key that signed is revoked",
    "EXPSIG": "the signature has expired",
}


class BadSignature(GtfsError):
    """A signature that does not count; ``reason`` says why in a few words."""

    fault = Blame.TRUST

    def __init__(self, reason: str, *, is_key_useless: bool = False) -> None:
        super().__init__(f"signature refused: {reason}")
        self.reason = reason
        self.is_key_useless = is_key_useless  # gpgv found the key that signed, or should have, and cannot use it


class UnknownKey(BadSignature):
    """A signature by a key that the keyring does not have."""


class MadeInFuture(BadSignature):
    """A signature whose time has not come."""


class ExpiredKey(BadSignature):
    """A signature by a key that has expired; gpgv does not say whether it is revoked as well."""


_KINDS: Final = {"NO_PUBKEY": UnknownKey, "EXPKEYSIG": ExpiredKey}


class GpgvFailed(GtfsError):
    """gpgv could not be run, so nothing can be said about a signature."""

    fault = Blame.SYSTEM


@dataclass(frozen=True)
class Signature:
    """A signature that counts: by the primary key of this fingerprint, made at this time (Unix seconds)."""

    primary: Fingerprint
    made_s: int


def check(
    packet: bytes,
    data: bytes,
    keys: bytes,
    allowed: Collection[Fingerprint],
    *,
    now_s: int,
    sig_class: str,
) -> Signature:
    """The signature in ``packet`` (one binary packet) over ``data``; raises `BadSignature` or `GpgvFailed`.

    ``keys`` are the public keys that gpgv may look at, as packets; ``allowed`` are whole primary fingerprints;
    ``sig_class`` is "00" (data) or "01" (text).
    """
    code, status = _run(packet, data, keys)
    return _judge(code, status, allowed, now_s, sig_class)


def _run(packet: bytes, data: bytes, keys: bytes) -> tuple[int, bytes]:
    """gpgv's exit code and status output, under limits of time, memory and output."""
    with tempfile.TemporaryDirectory(prefix="gtfs-") as home:
        signature = Path(home, "signature")
        signature.write_bytes(packet)
        keyring = Path(home, "keys")
        keyring.write_bytes(keys)
        # A file in memory instead of a pipe: nobody has to feed gpgv while its status is being read.
        stdin = os.memfd_create("data")
        status_r, status_w = os.pipe()
        try:
            with open(stdin, "wb", closefd=False) as out:
                out.write(data)
            os.lseek(stdin, 0, os.SEEK_SET)
            # Named by its kind: a colon anywhere in the path would make gpgv look for one.
            command = ["gpgv", "--homedir", home, "--keyring", f"gnupg-ring:{keyring}", "--status-fd", str(status_w)]
            for weak in ("SHA1", "RIPEMD160"):
                command += ["--weak-digest", weak]
            try:
                child = subprocess.Popen(
                    [*command, "--", str(signature), "-"],
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(status_w,),
                    env=_ENVIRONMENT,
                    cwd=home,
                )
            except OSError as error:
                raise GpgvFailed(f"gpgv cannot be run ({error.strerror}); install the package gpgv") from error
            os.close(status_w)
            status_w = -1
            try:
                _limit(child.pid)
                deadline = time.monotonic() + TIMEOUT_S
                status = _read_status(status_r, deadline)
                return child.wait(max(0.0, deadline - time.monotonic())), status
            except subprocess.TimeoutExpired:
                raise BadSignature(f"gpgv needed more than {TIMEOUT_S} s") from None
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        finally:
            for fd in (stdin, status_r, status_w):
                if fd >= 0:
                    os.close(fd)


def _limit(pid: int) -> None:
    """Bound the child, which may have inherited lower limits: those stay, as only root may raise a hard one."""
    for what, wanted in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S)):
        try:
            inherited = (limit for limit in resource.prlimit(pid, what) if limit != resource.RLIM_INFINITY)
            lowest = min(wanted, *inherited, wanted)
            resource.prlimit(pid, what, (lowest, lowest))
        except ProcessLookupError:  # it has ended already
            return


def _read_status(fd: int, deadline: float) -> bytes:
    """Everything up to the end of file; raises `BadSignature` past ``deadline`` (monotonic seconds)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    out = bytearray()
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise BadSignature(f"gpgv needed more than {TIMEOUT_S} s")
        got = os.read(fd, 1 << 16)
        if not got:
            return bytes(out)
        out += got
        if len(out) > STATUS_BYTES:
            raise BadSignature("gpgv said too much about the signature")


def _judge(code: int, status: bytes, allowed: Collection[Fingerprint], now_s: int, sig_class: str) -> Signature:
    """All conditions of design.md §10 on one run; raises `BadSignature` with the first that does not hold."""
    seen: dict[str, list[bytes]] = {}
    for line in status.split(b"\n")[:-1]:
        prefix, _, rest = line.partition(b" ")
        word = rest.partition(b" ")[0].decode("ascii", "replace")
        if prefix != b"[GNUPG:]":
            raise BadSignature("gpgv's status output is garbled")
        seen.setdefault(word, []).append(line)
    is_key_useless = bool(seen.keys() & {"NO_PUBKEY", "ERRSIG"})
    for word, reason in _REASONS.items():  # the telling ones first, whatever else was said
        if word in seen and word != "ERRSIG":
            raise _KINDS.get(word, BadSignature)(reason, is_key_useless=is_key_useless)
    for word in seen:
        if word not in _ONCE and word not in _HARMLESS and not word.startswith("NOTATION_"):
            raise BadSignature(_REASONS.get(word, f"gpgv reports {word}"), is_key_useless=is_key_useless)
    if code != 0 or not status.endswith(b"\n"):
        raise BadSignature(f"gpgv ended with code {code}")
    for word in _ONCE:
        if len(seen.get(word, ())) != 1:
            raise BadSignature(f"gpgv reports {word} {len(seen.get(word, ()))} times instead of once")
    fields = seen["VALIDSIG"][0].decode("ascii", "replace").split(" ")[2:]
    if len(fields) != 10:
        raise BadSignature("gpgv's VALIDSIG line has an unknown form")
    if key_id(fields[0]) != seen["GOODSIG"][0].decode("ascii", "replace").split(" ")[2]:
        raise BadSignature("gpgv calls good what another key signed")
    made, expires, digest, found_class, primary = fields[2], fields[3], fields[7], fields[8], fields[9]
    if not (digest.isdigit() and int(digest) in STRONG_DIGESTS):
        raise BadSignature("the signature uses a weak digest")
    if found_class != sig_class:
        raise BadSignature(f"the signature is of class {found_class}, not {sig_class}")
    if not (made.isdigit() and expires.isdigit()):
        raise BadSignature("gpgv gives the time in an unknown form")
    if int(made) > now_s + FUTURE_S:
        raise MadeInFuture("the signature was made in the future")
    if int(expires) and int(expires) <= now_s:
        raise BadSignature(_REASONS["EXPSIG"])
    if primary not in allowed:
        raise BadSignature(f"{primary} may not sign this")
    return Signature(Fingerprint(primary), int(made))
