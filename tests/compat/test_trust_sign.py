# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys
from waiting import wait_readable

from gtfs.durable import sweep_temporaries
from gtfs.ids import Fingerprint, ObjectId, PackDigest
from gtfs.trust.keyring import load_keyrings
from gtfs.trust.nodekey import make_node_key, read_node_key
from gtfs.trust.ownhome import sweep_homes
from gtfs.trust.packets import SECRET_KEY, dearmor, enarmor, read_packets
from gtfs.trust.policy import Vouch
from gtfs.trust.sign import Signer, SigningFailed
from gtfs.trust.signoff import BadSignoff, SignoffRow, read_signoff, write_signoff
from gtfs.trust.verify import BadSignature, read_clearsigned, verify_detached

ROWS = [SignoffRow(ObjectId(bytes([n]) * 20), PackDigest(bytes([n]) * 32), n, Vouch("local")) for n in range(1, 100)]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def agents_of(pid: int) -> list[str]:
    """The agents of homes that a process had."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"gpg-agent" in line and f"/proc/{pid}/fd/".encode() in line:
            found.append(path.parent.name)
    return found


def wait_no_agent(pid: int) -> None:
    """An agent that was told to end answers before it does."""
    for agent in agents_of(pid):
        try:
            fd = os.pidfd_open(int(agent))
        except ProcessLookupError:
            continue
        wait_readable(fd, "the agent ended")
        os.close(fd)


@pytest.mark.parametrize("name", ["alice", "carol"])
def test_what_the_user_signs_verifies(keys: Keys, name: str) -> None:
    signer = Signer(keys[name], keys.home)
    text = "Format: x\nName: ü\n- dash\n"
    signed = read_clearsigned(signer.clearsign(text), keys.ring, frozenset({keys[name]}), now_s=now_s())
    assert signed.text == text.encode() and [s.primary for s in signed.signatures] == [keys[name]]
    armored = signer.detach_sign(b"\0data\r\n")
    assert verify_detached(b"\0data\r\n", armored, keys.ring, None, now_s=now_s()).primary == keys[name]
    assert b"Version" not in armored


def test_gpg_reads_the_document_and_prints_the_same_text(keys: Keys) -> None:
    document = Signer(keys["alice"], keys.home).clearsign("A: b\n- c\n")
    assert keys.gpg("--decrypt", data=document) == b"A: b\n- c\n"


def test_a_missing_secret_key_says_what_to_do(keys: Keys) -> None:
    with pytest.raises(SigningFailed, match="--list-secret-keys"):
        Signer(Fingerprint("0" * 40), keys.home).clearsign("x\n")


def test_an_unusable_key_does_not_fall_back_to_another(keys: Keys) -> None:
    for name in ("expired", "revoked"):
        with pytest.raises(SigningFailed, match=keys[name]):
            Signer(keys[name], keys.home).detach_sign(b"x")


@pytest.mark.parametrize("text", ["no newline", "x" * 17000 + "\n", "trailing \n", "cr\r\n", "nul\0\n"])
def test_texts_that_gpg_would_change_or_cut_are_not_signed(keys: Keys, text: str) -> None:
    with pytest.raises(SigningFailed):
        Signer(keys["alice"], keys.home).clearsign(text)


def test_settings_in_gpg_conf_cannot_weaken_a_signature(keys: Keys) -> None:
    conf = keys.home / "gpg.conf"
    conf.write_text(f"local-user {keys['bob']}\n")
    try:
        with pytest.raises(SigningFailed, match=r"gpg\.conf|more than one"):
            Signer(keys["alice"], keys.home).clearsign("x\n")
        conf.write_text("comment hello\ndigest-algo SHA1\ntextmode\n")
        signed = Signer(keys["alice"], keys.home).clearsign("x\n")
        assert read_clearsigned(signed, keys.ring, None, now_s=now_s()).signatures
    finally:
        conf.unlink()


def test_a_locked_key_without_a_terminal_fails_with_a_reason(keys: Keys, tmp_path: Path) -> None:
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    run = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", "secret"]
    subprocess.run([*run, "--quick-gen-key", "dora", "ed25519", "sign"], check=True, capture_output=True)
    listing = subprocess.run([*run, "--list-keys", "--with-colons"], check=True, capture_output=True).stdout.decode()
    fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
    (home / "gpg-agent.conf").write_text("pinentry-program /bin/false\n")
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    try:
        with pytest.raises(SigningFailed, match=r"passphrase|pinentry"):
            Signer(Fingerprint(fingerprint), home).clearsign("x\n")
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    """Deep enough that no socket's path (108 bytes) could lie there."""
    return tmp_path / ("deep" * 30) / ("deeper" * 20) / "gtfs" / "keys"


def test_the_node_key_is_private_stable_and_signs_without_gpg(
    tmp_path: Path, keys_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", None)
        fingerprint = make_node_key(keys_dir / "node.asc")
        assert make_node_key(keys_dir / "node.asc") == fingerprint
        key = read_node_key(keys_dir / "node.asc")
        armored, signed = key.detach_sign(b"x"), key.clearsign("Format: x\nName: \u00fc\n- dash\n\n-\n")
    assert key.fingerprint == fingerprint
    assert stat.S_IMODE(keys_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys_dir / "node.asc").stat().st_mode) == 0o600
    assert os.listdir(keys_dir) == ["node.asc"]
    (tmp_path / "node.pub").write_bytes(key.public_key())
    ring = load_keyrings([tmp_path / "node.pub"], tmp_path / "ring")
    assert verify_detached(b"x", armored, ring, None, now_s=now_s()).primary == fingerprint
    with pytest.raises(BadSignature):
        verify_detached(b"y", armored, ring, None, now_s=now_s())
    read = read_clearsigned(signed, ring, None, now_s=now_s())
    assert read.text.decode() == "Format: x\nName: \u00fc\n- dash\n\n-\n"
    assert [each.primary for each in read.signatures] == [fingerprint]


def test_gpg_has_the_node_key_in_the_way_it_makes_one(tmp_path: Path, keys_dir: Path) -> None:
    fingerprint = make_node_key(keys_dir / "node.asc")
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch"]
    try:
        subprocess.run([*gpg, "--import", str(keys_dir / "node.asc")], check=True, capture_output=True)
        (tmp_path / "text").write_bytes(read_node_key(keys_dir / "node.asc").clearsign("a\n-b\n"))
        subprocess.run([*gpg, "--verify", str(tmp_path / "text")], check=True, capture_output=True)
        (tmp_path / "x").write_bytes(b"x")
        subprocess.run([*gpg, "-u", fingerprint, "--detach-sign", str(tmp_path / "x")], check=True, capture_output=True)
        exported = subprocess.run([*gpg, "--armor", "--export-secret-keys"], check=True, capture_output=True).stdout
        (tmp_path / "again.asc").write_bytes(exported)
        make = [*gpg, "--passphrase", "", "--quick-gen-key", "gtfs other", "ed25519", "sign", "never"]
        subprocess.run(make, capture_output=True, check=True)
        listing = subprocess.run(
            [*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True
        ).stdout.decode()
        found = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]
        (other,) = set(found) - {fingerprint}
        theirs = subprocess.run(
            [*gpg, "--armor", "--export-secret-keys", other], check=True, capture_output=True
        ).stdout
        (tmp_path / "theirs.asc").write_bytes(theirs)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    assert read_node_key(tmp_path / "again.asc").fingerprint == fingerprint
    # What an older gtfs let gpg make goes on being the node's key.
    old = read_node_key(tmp_path / "theirs.asc")
    assert old.fingerprint == other
    (tmp_path / "old.pub").write_bytes(old.public_key())
    ring = load_keyrings([tmp_path / "old.pub"], tmp_path / "ring")
    assert verify_detached(b"x", old.detach_sign(b"x"), ring, None, now_s=now_s()).primary == other


MAKER = """
import os, signal, sys
from pathlib import Path
import gnupg
from gtfs.trust import nodekey, ownhome, subkey

keys_dir, moment = Path(sys.argv[1]), sys.argv[2]
gen_key = gnupg.GPG.gen_key

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_beside_gpg(gpg, text):
    gpg._collect_output = die
    gen_key(gpg, text)

def die_when_made(gpg, text):
    gen_key(gpg, text)
    die()

if moment == "home":
    ownhome._run = die
elif moment == "agent":
    gnupg.GPG.__init__ = die
elif moment == "making":
    gnupg.GPG.gen_key = die_beside_gpg
elif moment == "made":
    gnupg.GPG.gen_key = die_when_made
elif moment == "node":
    os.replace = os.rename = die
    nodekey.make_node_key(keys_dir / "node.asc")
subkey._make_secret(keys_dir)
"""


@pytest.mark.parametrize("moment", ["home", "agent", "making", "made"])
def test_a_kill_while_a_signing_subkey_is_made_leaves_no_secret_elsewhere_and_no_agent_after_a_sweep(
    keys_dir: Path, moment: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(keys_dir), moment], env={**os.environ, "TMPDIR": str(elsewhere)}
    )
    assert maker.wait() == -signal.SIGKILL
    assert not list(elsewhere.rglob("*.key"))
    assert list(keys_dir.glob("home-*"))
    assert bool(agents_of(maker.pid)) == (moment != "home")
    sweep_homes(keys_dir)
    assert not list(keys_dir.glob("home-*"))
    wait_no_agent(maker.pid)


def test_a_kill_while_the_node_key_is_made_leaves_no_secret_elsewhere(
    keys_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(keys_dir), "node"], env={**os.environ, "TMPDIR": str(elsewhere)}
    )
    assert maker.wait() == -signal.SIGKILL
    assert not any(elsewhere.iterdir())
    [left] = keys_dir.iterdir()
    assert left.name != "node.asc"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    sweep_temporaries(keys_dir)
    make_node_key(keys_dir / "node.asc")
    assert os.listdir(keys_dir) == ["node.asc"]


def spoilt(armored: bytes, at: int) -> bytes:
    data = bytearray(dearmor(armored, b"PRIVATE KEY BLOCK"))
    data[at] ^= 1
    return enarmor(bytes(data), b"PRIVATE KEY BLOCK")


def test_a_damaged_node_key_is_reported(tmp_path: Path) -> None:
    make_node_key(tmp_path / "good.asc")
    good = (tmp_path / "good.asc").read_bytes()
    [body] = [p.body for p in read_packets(dearmor(good, b"PRIVATE KEY BLOCK")) if p.tag == SECRET_KEY]
    # Each byte of it but its time, which makes it another key.
    inside = [spoilt(good, 2 + at) for at in range(len(body)) if at not in range(1, 5)]
    for data in (b"", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", good[:-60], *inside):
        (tmp_path / "node.asc").write_bytes(data)
        with pytest.raises(SigningFailed, match="damaged"):
            read_node_key(tmp_path / "node.asc")
    with pytest.raises(SigningFailed, match="cannot be read"):
        read_node_key(tmp_path / "none" / "node.asc")


def test_a_node_signs_nothing_that_a_reader_would_see_otherwise(tmp_path: Path) -> None:
    make_node_key(tmp_path / "node.asc")
    key = read_node_key(tmp_path / "node.asc")
    for text in ("a", "a \n", "a\t\n", "a\r\n", "a\0\n", "x" * 20000 + "\n"):
        with pytest.raises(SigningFailed):
            key.clearsign(text)


def test_a_node_whose_clock_went_back_before_its_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_node_key(tmp_path / "node.asc")
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    with pytest.raises(SigningFailed, match="is the clock right"):
        read_node_key(tmp_path / "node.asc").detach_sign(b"x")


def test_a_signoff_is_read_back_with_its_signer(keys: Keys, tmp_path: Path) -> None:
    made_s = now_s()
    path = write_signoff(tmp_path, ROWS, Signer(keys["carol"], keys.home), made_s)
    assert path.suffix == ".asc" and list(tmp_path.iterdir()) == [path]
    signoff = read_signoff(path.read_bytes(), keys.ring, frozenset({keys["carol"]}), now_s=now_s())
    assert [s.primary for s in signoff.signatures] == [keys["carol"]]
    assert signoff.rows == tuple(ROWS) and signoff.date_s == made_s
    with pytest.raises(BadSignoff):
        read_signoff(path.read_bytes(), keys.ring, frozenset({keys["alice"]}), now_s=now_s())
