# SPDX-License-Identifier: GPL-3.0-or-later
"""gpgv, gpg and ssh-keygen read what they are shown from memory: whatever kills a node, nothing of it lies about."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys

from gtfs.trust.keyfacts import read_facts
from gtfs.trust.publicgpg import export_keybox
from gtfs.trust.sshsig import AllowedSigners, verify_ssh
from gtfs.trust.verify import find_detached


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def no_temporaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no directory for temporary files, nor a home."""
    for name in ("TMPDIR", "HOME", "GNUPGHOME"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))


@pytest.mark.usefixtures("no_temporaries")
def test_signatures_and_dates_are_judged_without_a_file(keys: Keys) -> None:
    found = find_detached(b"data\n", keys.signed_by_revoked, keys.ring, None, now_s=now_s())
    assert found.standing == "revoked"
    assert keys.ring.validity(keys["revoked"], keys["revoked"]).revoked_s == 0


@pytest.mark.usefixtures("no_temporaries")
def test_keys_are_listed_and_keyboxes_read_without_a_file(keys: Keys) -> None:
    assert keys["alice"] in read_facts(keys.ring.keys)
    assert export_keybox((keys.home / "pubring.kbx").read_bytes())


@pytest.mark.usefixtures("no_temporaries")
def test_ssh_signatures_are_judged_without_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signing = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key)]
    signature = subprocess.run(signing, input=b"data", capture_output=True, check=True).stdout
    allowed = AllowedSigners(b"a@example.org " + (tmp_path / "key.pub").read_bytes(), b"")
    assert verify_ssh(b"data", signature, allowed).startswith("SHA256:")
