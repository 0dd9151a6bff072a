# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts is the part of a key that signed, and its primary key: a table of keys as years of rotation leave them.

gpgv says KEYEXPIRED of any expired signing part, GOODSIG or EXPKEYSIG or REVKEYSIG of the one that signed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import DAY_S, NOW_S, YEAR_S, Keys, gpg_time, now_s, shared_keys

from gtfs.ids import Fingerprint
from gtfs.trust.keyring import load_keyrings
from gtfs.trust.verify import BadSignature, verify_detached

DATA = b"data\n"
LONG_AGO = NOW_S - 3 * YEAR_S
LAST_YEAR = NOW_S - YEAR_S
SOON = LONG_AGO + DAY_S  # when last year's keys were good
LATER = NOW_S + YEAR_S

# The usage and life of the primary key; of its subkeys: kind, usage, life, when made; which part signs (0: the primary
# key) and when; and why it is refused, "" where it is good.
SIGN, ENCRYPT = ("ed25519", "sign"), ("cv25519", "encr")
EXPIRED = (*SIGN, "1y", LONG_AGO)
OLD, NEW, NEXT = (*SIGN, "never", LONG_AGO), (*SIGN, "never", LAST_YEAR), (*SIGN, "never", LATER)
TABLE = {
    "an expired signing subkey beside a good one": ("cert never", [EXPIRED, NEW], 2, NOW_S, ""),
    "two expired ones beside a good one": ("cert never", [EXPIRED, (*SIGN, "2d", LONG_AGO), OLD], 3, NOW_S, ""),
    "an expired one beside a primary key that signs": ("sign never", [EXPIRED], 0, NOW_S, ""),
    "an expired encryption subkey beside": ("cert never", [(*ENCRYPT, "1y", LONG_AGO), OLD], 2, NOW_S, ""),
    "two good ones, the older signs": ("cert never", [OLD, NEW], 1, NOW_S, ""),
    "two good ones, the newer signs": ("cert never", [OLD, NEW], 2, NOW_S, ""),
    "one from the future beside": ("cert never", [OLD, NEXT], 1, NOW_S, ""),
    "a revoked one beside a good one": ("cert never", [OLD, NEW], 2, NOW_S, "", 1),
    "the expired one signed in its time": ("cert never", [EXPIRED, NEW], 1, SOON, "has expired"),
    "the expired one, beside a primary key that signs": ("sign never", [EXPIRED], 1, SOON, "has expired"),
    "the expired primary key signed in its time": ("sign 1y", [], 0, SOON, "has expired"),
    "a good subkey of an expired primary key": ("cert 1y", [(*SIGN, "10y", LONG_AGO)], 1, SOON, "has expired"),
    "the revoked one signed before": ("cert never", [OLD, NEW], 1, SOON, "is revoked", 1),
    "the one from the future signed": ("cert never", [OLD, NEXT], 2, LATER + DAY_S, "clock"),
}  # fmt: skip


class Rotated:
    """A key with subkeys in a home of its own."""

    def __init__(self, keys: Keys, home: Path) -> None:
        self._keys, self._home = keys, home

    def gpg(self, *args: str, data: bytes = b"", answers: bool = False) -> bytes:
        how = ["--no-tty"] if answers else ["--batch", "--no-tty"]
        run = ["gpg", "--homedir", str(self._home), *how, "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
        done = subprocess.run([*run, *args], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def parts(self) -> list[Fingerprint]:
        listing = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        return [Fingerprint(line.split(":")[9]) for line in listing if line.startswith("fpr:")]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def rotated(keys: Keys, tmp_path: Path) -> Iterator[Rotated]:
    home = keys.directory / "r"  # short, for the agent's socket
    home.mkdir(mode=0o700)
    yield Rotated(keys, home)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    subprocess.run(["rm", "-rf", str(home)], check=True)


@pytest.mark.parametrize("case", TABLE)
def test_a_key_is_judged_by_the_part_that_signed(rotated: Rotated, tmp_path: Path, case: str) -> None:
    primary, subkeys, signs, when, reason, *revoked = TABLE[case]
    made = ("--faked-system-time", gpg_time(LONG_AGO))
    rotated.gpg(*made, "--quick-gen-key", "rotated <r@example.org>", "ed25519", *primary.split())
    key = rotated.parts()[0]
    for kind, usage, life, time_s in subkeys:
        rotated.gpg("--faked-system-time", gpg_time(time_s), "--quick-add-key", key, kind, usage, life)
    parts = rotated.parts()
    signature = rotated.gpg(
        "--faked-system-time", gpg_time(when), "--local-user", f"{parts[signs]}!", "--digest-algo", "SHA256",
        "--armor", "--detach-sign", data=DATA,
    )  # fmt: skip
    for part in revoked:
        answers = f"key {part}\nrevkey\ny\n0\n\ny\nsave\n".encode()
        rotated.gpg("--command-fd", "0", "--edit-key", key, data=answers, answers=True)
    file = tmp_path / "ring.gpg"
    file.write_bytes(rotated.gpg("--export", key))
    ring = load_keyrings([file], tmp_path / "out")
    assert len(ring.keys[key].subkeys) == len(subkeys)
    if not reason:
        assert verify_detached(DATA, signature, ring, None, now_s=NOW_S + 60).primary == key
    else:
        with pytest.raises(BadSignature, match=reason):
            verify_detached(DATA, signature, ring, None, now_s=NOW_S + 60)


def test_a_signer_named_by_a_subkey_is_told_the_key_to_name(keys: Keys) -> None:
    (subkey,) = keys.ring.keys[keys["carol"]].subkeys
    with pytest.raises(BadSignature, match=f"{keys['carol']} may not sign this: .* names {subkey}, a subkey"):
        verify_detached(DATA, keys.sign(DATA, "carol"), keys.ring, frozenset({subkey}), now_s=now_s())


def test_who_is_kept_by_name_only_signs_what_names_him(keys: Keys) -> None:
    ring = keys.ring.with_named_only([keys["alice"]])
    signature = keys.sign(DATA, "alice")
    with pytest.raises(BadSignature, match="may not sign"):
        verify_detached(DATA, signature, ring, None, now_s=now_s())
    assert verify_detached(DATA, signature, ring, frozenset({keys["alice"]}), now_s=now_s()).primary == keys["alice"]
    assert verify_detached(DATA, keys.sign(DATA, "bob"), ring, None, now_s=now_s()).primary == keys["bob"]
