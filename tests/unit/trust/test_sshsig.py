# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import BadId, is_ssh_key, parse_signer
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.sshsig import ALLOWED_BYTES, AllowedSigners, BadAllowedSigners, read_allowed_signers, verify_ssh

NOBODY = AllowedSigners(b"", b"")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def armor(blob: bytes) -> bytes:
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(blob) + b"-----END SSH SIGNATURE-----\n"


KEY = string(string(b"ssh-ed25519") + string(b"k" * 32))
REST = string(b"") + string(b"sha512") + string(string(b"ssh-ed25519") + string(b"s" * 64))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "unknown form"),
        (b"SSHSIG\0\0\0\2" + KEY + string(b"git") + REST, "unknown form"),
        (b"SSHSIG\0\0\0\1" + KEY + string(b"git") + REST[:-1], "unknown form"),
        (b"SSHSIG\0\0\0\1\xff\xff\xff\xff" + KEY + string(b"git") + REST, "unknown form"),
        (b"SSHSIG\0\0\0\1" + KEY + string(b"git") + REST + b"\0", "not one that git makes"),
        (b"SSHSIG\0\0\0\1" + KEY + string(b"file") + REST, "not one that git makes"),
        (b"SSHSIG\0\0\0\1" + KEY + string(b"git") + REST.replace(b"sha512", b"sha1\0\0"), "not one that git makes"),
        (b"SSHSIG\0\0\0\1" + string(string(b"x-cert-v01@openssh.com")) + string(b"git") + REST, "certificate"),
    ],
)
def test_a_signature_of_another_form_is_refused_without_a_program(blob: bytes, reason: str) -> None:
    with pytest.raises(BadSignature, match=reason):
        verify_ssh(b"data", armor(blob), NOBODY)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(armor))
def test_bytes_of_any_form_are_refused(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify_ssh(b"data", signature, NOBODY)


def test_a_file_of_allowed_signers_is_there_whole_or_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "allowed_signers"
    assert read_allowed_signers(file) is None
    file.write_bytes(b"a@example.org ssh-ed25519 AAAA\n")
    one = read_allowed_signers(file)
    file.write_bytes(b"b@example.org ssh-ed25519 AAAA\n")
    two = read_allowed_signers(file)
    assert one is not None and two is not None and one.digest != two.digest
    file.write_bytes(b"#" * (ALLOWED_BYTES + 1))
    with pytest.raises(BadAllowedSigners, match="over the limit"):
        read_allowed_signers(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(BadAllowedSigners, match="directory"):
        read_allowed_signers(file)


def test_who_may_sign_is_named_whole() -> None:
    ssh = "SHA256:" + "aB3+/" * 8 + "xyz"
    assert is_ssh_key(parse_signer(ssh)) and not is_ssh_key(parse_signer("a" * 40))
    for text in (ssh[:-1], ssh + "=", ssh.lower(), "MD5:" + "a" * 32, "ABCD"):
        with pytest.raises(BadId):
            parse_signer(text)
