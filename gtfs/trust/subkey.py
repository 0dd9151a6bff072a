# SPDX-License-Identifier: GPL-3.0-or-later
"""A signing subkey without a passphrase, in a home of GnuPG of its own; the primary key stays where it is.

Its secret half is made here and bound by the primary key in the user's own GnuPG, where it lies for that moment: the
agent asks the user for the primary's passphrase. Any thread; it waits for that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from gtfs.durable import make_directory, replace_file
from gtfs.ids import Fingerprint
from gtfs.trust.gnupghome import open_gnupg, search_path, socket_trouble
from gtfs.trust.ownhome import own_home
from gtfs.trust.sign import SigningFailed, reason_of

EXPIRY: Final = "1y"
_PRIVATE: Final = "private-keys-v1.d"  # of a home of GnuPG; a file for each key, named by its keygrip
_EXISTING: Final = "13"  # "Existing key", in gpg's list of kinds with --expert
_DONE: Final = "KEY_CREATED"  # words of its status lines
_ASKS: Final = ("GET_LINE", "GET_BOOL", "GET_HIDDEN")


def make_subkey(primary: Fingerprint, home: Path | None, into: Path) -> bytes:
    """Give ``primary``, which is in ``home`` (None: gpg's own), a subkey whose secret half is in ``into`` only.

    It may be made again, and the newest signs. Gives the armored public key. Raises `SigningFailed`, `GnupgUnusable`,
    OSError.
    """
    gpg = open_gnupg(home)
    make_directory(into)
    trouble = socket_trouble(into)
    if trouble is not None:
        raise SigningFailed(f"no subkey can be kept in {into}: {trouble}")
    grip, secret = _make_secret(into.parent)
    make_directory(into / _PRIVATE)
    replace_file(into / _PRIVATE / grip, secret)
    users = _directory(home) / _PRIVATE
    replace_file(users / grip, secret)
    try:
        _bind(primary, home, grip.removesuffix(".key"))
    except BaseException:
        (into / _PRIVATE / grip).unlink(missing_ok=True)
        raise
    finally:
        (users / grip).unlink(missing_ok=True)
    public = str(gpg.export_keys(primary)).encode("ascii")
    if not open_gnupg(into).import_keys(public).fingerprints:
        raise SigningFailed(f"gpg does not take the public key of {primary} into {into}")
    return public


def _make_secret(beside: Path) -> tuple[str, bytes]:
    """The file name and the contents of a new secret key, as an agent keeps it."""
    with own_home(beside) as made:
        done = open_gnupg(made).gen_key(
            "Key-Type: eddsa\nKey-Curve: ed25519\nKey-Usage: sign\nName-Real: gtfs signing\n"
            "Expire-Date: 0\n%no-protection\n%commit\n"
        )
        if not done.fingerprint:
            raise SigningFailed(f"cannot make a subkey: {reason_of(str(done.stderr))}")
        [file] = (made / _PRIVATE).iterdir()
        return file.name, file.read_bytes()


def _directory(home: Path | None) -> Path:
    """Where a user's GnuPG is."""
    if home is not None:
        return home
    done = subprocess.run(
        ["gpgconf", "--list-dirs", "homedir"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return Path(os.fsdecode(done.stdout.rstrip(b"\n")))


def _bind(primary: Fingerprint, home: Path | None, grip: str) -> None:
    """Let the primary key sign that the secret key of this keygrip is its own."""
    program = shutil.which("gpg") or shutil.which("gpg", path=search_path()) or "gpg"
    command = [program, *(("--homedir", str(home)) if home is not None else ()), "--no-tty", "--batch", "--expert"]
    command += ["--status-fd", "1", "--command-fd", "0", "--edit-key", primary]
    answers = {
        "keyedit.prompt": ["addkey", "save"],
        "keygen.algo": [_EXISTING],
        "keygen.keygrip": [grip],
        "keygen.flags": ["q"],  # as they are: an ed25519 key signs
        "keygen.valid": [EXPIRY],
    }
    is_done = False
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as gpg,
    ):
        assert gpg.stdin is not None and gpg.stdout is not None
        for line in gpg.stdout:
            _, word, *more = [*line.decode("utf-8", "replace").split(), "", ""]
            is_done = is_done or word == _DONE
            if word in _ASKS:
                left = answers.get(more[0], [])
                if not left or (left == ["save"] and not is_done):
                    break  # it has failed, or asks what it did not when this was written
                gpg.stdin.write(left.pop(0).encode() + b"\n")
                gpg.stdin.flush()
        gpg.stdin.close()
        code = gpg.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if code or not is_done:
        raise SigningFailed(f"no subkey for {primary} could be made: {reason_of(said)}")
