# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH signatures on commits and tags: one run of ssh-keygen for each, judged by all that it says (design.md §10).

Who counts stands in a file of allowed signers (ssh-keygen(1)) of this repository alone, whose bytes are read once. Any
thread; it waits for the child.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.child import ChildKilled, ChildNotStarted, ChildTimedOut, ChildTooLoud, InMemory, run_child
from gtfs.trust.gnupghome import search_path
from gtfs.trust.gpgv import BadSignature

ALLOWED_BYTES: Final = 1 << 20
PRINCIPALS: Final = 4  # that share one key; each costs a run
TIMEOUT_S: Final = 300  # child.CPU_S ends it before, so that a loaded machine judges as an idle one does

_NAMESPACE: Final = b"git"  # git's gpg-interface.c
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----\n"
_END: Final = b"-----END SSH SIGNATURE-----\n"
_HASHES: Final = (b"sha256", b"sha512")
_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
_SAID = re.compile(rb'Good "git" signature for (.+) with [A-Z0-9-]+ key (SHA256:[A-Za-z0-9+/]{43})\n\Z')
HOW: Final = "put the file of allowed signers (ssh-keygen(1)) to gtfs/allowed_signers in the repository"


class SshKeygenFailed(GtfsError):
    """ssh-keygen could not be run, so nothing can be said about a signature."""

    fault = Blame.SYSTEM


class BadAllowedSigners(GtfsError):
    """A file of allowed signers that cannot be read, or is too large."""

    fault = Blame.SOURCE


@dataclass(frozen=True)
class AllowedSigners:
    """Who may sign with SSH keys: the file's bytes, and their SHA-256."""

    data: bytes
    digest: bytes

    @property
    def is_timed(self) -> bool:
        """Whether a key may stop to count, or begin to, though the file stays (valid-before, valid-after)."""
        return b"valid-" in self.data.lower()


def read_allowed_signers(path: Path) -> AllowedSigners | None:
    """The file of allowed signers, None where there is none; raises `BadAllowedSigners`."""
    try:
        with open(path, "rb") as file:
            data = file.read(ALLOWED_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadAllowedSigners(f"allowed signers {path}: {error.strerror or error}") from error
    if len(data) > ALLOWED_BYTES:
        raise BadAllowedSigners(f"allowed signers {path}: over the limit of {ALLOWED_BYTES} bytes")
    return AllowedSigners(data, hashlib.sha256(data).digest())


def verify_ssh(payload: bytes, signature: bytes, allowed: AllowedSigners) -> Fingerprint:
    """Whose good signature of the namespace git this is; raises `BadSignature`, `SshKeygenFailed`.

    The key is the one in the signature itself, and ssh-keygen has to name the same. Keys count as the file says now:
    an SSH signature does not tell when it was made.
    """
    fingerprint = _claimed(signature)
    found = ("-s", InMemory(signature), "-f", InMemory(allowed.data))
    code, out = _run(["-Y", "find-principals", *found], b"")
    principals = out.splitlines()
    if code or not principals:
        raise BadSignature(f"the SSH key {fingerprint} is not among the allowed signers", "ssh-keys")
    for principal in principals[:PRINCIPALS]:
        who = ["-I", os.fsdecode(principal), "-n", _NAMESPACE.decode()]
        code, out = _run(["-Y", "verify", *found, *who], payload)
        said = _SAID.match(out)
        if code == 0 and said and said[1] == principal and said[2].decode() == fingerprint:
            return fingerprint
    raise BadSignature(f"ssh-keygen does not find the signature by {fingerprint} good")


def _claimed(signature: bytes) -> Fingerprint:
    """The key that an armored signature (PROTOCOL.sshsig) names, if its form is known; raises `BadSignature`."""
    if not (signature.startswith(_BEGIN) and signature.endswith(_END)):
        raise BadSignature("the SSH signature's armor has an unknown form")
    try:
        blob = base64.b64decode(signature[len(_BEGIN) : -len(_END)].replace(b"\n", b""), validate=True)
        if blob[:10] != b"SSHSIG\0\0\0\1":
            raise ValueError
        key, rest = _string(blob[10:])
        namespace, rest = _string(rest)
        _reserved, rest = _string(rest)
        digest, rest = _string(rest)
        _made, rest = _string(rest)
        kind, _ = _string(key)
    except ValueError:
        raise BadSignature("the SSH signature has an unknown form") from None
    if rest or namespace != _NAMESPACE or digest not in _HASHES:
        raise BadSignature("the SSH signature is not one that git makes")
    if b"-cert-" in kind:
        raise BadSignature("the SSH signature was made with a certificate; only keys themselves are trusted")
    return Fingerprint("SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("="))


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A string of RFC 4251 §5 and what comes behind it; raises ValueError."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length:
        raise ValueError
    return data[4 : 4 + length], data[4 + length :]


def _run(words: Sequence[str | InMemory], data: bytes) -> tuple[int, bytes]:
    """The exit code and standard output of ssh-keygen, under limits; raises `BadSignature`, `SshKeygenFailed`."""
    command: list[str | InMemory] = ["ssh-keygen", *words]
    try:
        return run_child(command, data, environment=_ENVIRONMENT, timeout_s=TIMEOUT_S, most_bytes=ALLOWED_BYTES)
    except ChildTimedOut:
        raise BadSignature(f"ssh-keygen needed more than {TIMEOUT_S} s") from None
    except ChildTooLoud:
        raise BadSignature("ssh-keygen said too much about the signature") from None
    except ChildKilled as error:
        raise SshKeygenFailed(str(error)) from error
    except ChildNotStarted as error:
        raise SshKeygenFailed(f"{error}; install the package openssh-client") from error
