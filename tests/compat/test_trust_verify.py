# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole check of design.md §10 against real gpg and gpgv: every case that exit codes get wrong."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from keys import DAY_S, NOW_S, Keys, now_s, shared_keys

from gtfs.trust import gpgv, publicgpg, validity
from gtfs.trust import verify as module
from gtfs.trust.child import run_child
from gtfs.trust.keyfiles import read_key_data
from gtfs.trust.packets import SIGNATURE_BLOCK, dearmor, enarmor
from gtfs.trust.publicgpg import GnupgNotRun
from gtfs.trust.verify import (
    BadSignature,
    GpgvFailed,
    Signature,
    combine_clearsigned,
    read_clearsigned,
    unverified_signers,
    verify_detached,
)

DATA = b"some data\nin two lines\n"
TEXT = b"Format: x\nA: b\n- dash\nFrom here\n .\n"
WEAK = ("--allow-weak-digest-algos",)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def verify(keys: Keys, signature: bytes, data: bytes = DATA, *names: str) -> Signature:
    allowed = frozenset(keys[name] for name in names) if names else None
    return verify_detached(data, signature, keys.ring, allowed, now_s=now_s())


def refused(keys: Keys, signature: bytes, data: bytes = DATA, *names: str) -> str:
    with pytest.raises(BadSignature) as caught:
        verify(keys, signature, data, *names)
    return caught.value.reason


def test_a_good_signature_names_its_primary_key(keys: Keys) -> None:
    found = verify(keys, keys.sign(DATA, "alice"), DATA, "alice", "bob")
    assert found.primary == keys["alice"] and 0 <= now_s() - found.made_s < 3600


def test_a_signature_by_a_subkey_counts_as_one_by_its_primary_key(keys: Keys) -> None:
    assert verify(keys, keys.sign(DATA, "carol")).primary == keys["carol"]


def test_a_binary_signature_is_as_good_as_an_armored_one(keys: Keys) -> None:
    assert verify(keys, dearmor(keys.sign(DATA, "alice"), SIGNATURE_BLOCK)).primary == keys["alice"]


def test_an_expired_key_is_refused_though_gpgv_exits_0(keys: Keys) -> None:
    assert refused(keys, keys.signed_by_expired, b"data\n") == "the key that signed has expired"


def test_a_revoked_key_is_refused_though_gpgv_exits_0(keys: Keys) -> None:
    assert refused(keys, keys.signed_by_revoked, b"data\n") == "the key that signed is revoked"


def test_the_bad_keys_really_made_signatures_that_gpgv_exits_0_for(keys: Keys, tmp_path: Path) -> None:
    for signature in (keys.signed_by_expired, keys.signed_by_revoked):
        (tmp_path / "s").write_bytes(signature)
        command = ["gpgv", "--keyring", str(keys.ring.path), "--", str(tmp_path / "s"), "-"]
        assert subprocess.run(command, input=b"data\n", capture_output=True).returncode == 0


def test_an_altered_byte_is_refused(keys: Keys) -> None:
    changed = DATA.replace(b"some", b"Some")
    assert refused(keys, keys.sign(DATA, "alice"), changed) == "the signature does not fit the data"


def test_a_key_outside_the_keyring_is_refused(keys: Keys) -> None:
    assert refused(keys, keys.sign(DATA, "mallory")) == "the key that signed is not in the keyring"


def test_a_key_without_the_right_is_refused(keys: Keys) -> None:
    assert "may not sign this" in refused(keys, keys.sign(DATA, "alice"), DATA, "bob")
    with pytest.raises(BadSignature, match="may not sign"):
        verify_detached(DATA, keys.sign(DATA, "alice"), keys.ring, frozenset(), now_s=now_s())


def test_a_sha1_signature_is_refused(keys: Keys) -> None:
    assert "weak digest" in refused(keys, keys.sign(DATA, "alice", digest="SHA1", options=WEAK))


def test_gpgv_refuses_sha1_by_itself_too(keys: Keys) -> None:
    packet = dearmor(keys.sign(DATA, "alice", digest="SHA1", options=WEAK), SIGNATURE_BLOCK)
    with pytest.raises(BadSignature):
        gpgv.check(packet, DATA, keys.ring.path.read_bytes(), keys.ring.primaries, now_s=now_s(), sig_class="00")


def test_a_signature_from_the_future_is_refused(keys: Keys) -> None:
    signature = keys.sign(DATA, "alice", time_s=NOW_S + 3 * DAY_S)
    assert refused(keys, signature) == "the signature was made in the future"


def test_an_expired_signature_is_refused(keys: Keys) -> None:
    signature = keys.sign(DATA, "alice", time_s=NOW_S - 3 * DAY_S, options=("--default-sig-expire", "1d"))
    assert refused(keys, signature) == "the signature has expired"


def test_two_signatures_are_refused(keys: Keys) -> None:
    assert refused(keys, keys.sign(DATA, "alice", "bob")) == "more than one signature"


def test_text_after_the_signature_is_refused(keys: Keys) -> None:
    assert "after the end" in refused(keys, keys.sign(DATA, "alice") + b"trailing\n")


def test_a_text_mode_signature_is_refused(keys: Keys) -> None:
    assert "class 01" in refused(keys, keys.sign(DATA, "alice", options=("--textmode",)))


def test_notations_and_policy_urls_do_no_harm_but_critical_ones_do(keys: Keys) -> None:
    harmless = ("--sig-notation", "a@example.org=hello", "--sig-policy-url", "http://example.org/")
    assert verify(keys, keys.sign(DATA, "alice", options=harmless)).primary == keys["alice"]
    refused(keys, keys.sign(DATA, "alice", options=("--sig-notation", "!a@example.org=hello")))


def test_an_overlong_signature_is_refused(keys: Keys) -> None:
    assert "over the limit signature" in refused(keys, keys.sign(DATA, "alice") + b"\n" * 17000)


def test_a_document_is_no_detached_signature(keys: Keys) -> None:
    refused(keys, keys.clearsign(DATA, "alice"))


def test_any_flipped_bit_of_a_signature_is_refused_or_harmless(keys: Keys) -> None:
    packet = dearmor(keys.sign(DATA, "alice"), SIGNATURE_BLOCK)
    for at in range(0, len(packet), 7):
        changed = packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]
        try:
            assert verify(keys, changed).primary == keys["alice"]  # only the unhashed part can be changed
        except BadSignature:
            pass


def test_names_of_files_are_never_options(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path("--keyring=x")
    odd.write_bytes(keys.ring.path.read_bytes())
    ring = dataclasses.replace(keys.ring, path=odd)
    found = verify_detached(DATA, keys.sign(DATA, "alice"), ring, None, now_s=now_s())
    assert found.primary == keys["alice"]


def test_a_missing_gpgv_is_not_a_bad_signature(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = keys.sign(DATA, "alice")
    monkeypatch.setattr(gpgv, "_ENVIRONMENT", {"PATH": "/nonexistent"})
    with pytest.raises(GpgvFailed, match="install"):
        verify(keys, signature)


def test_a_killed_gpgv_is_not_a_bad_signature(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = keys.sign(DATA, "alice")
    for name in ("gpgv", "gpg"):
        fake = tmp_path / name
        fake.write_text("#!/bin/bash\nkill -9 $$\n")  # as the kernel does where memory is short
        fake.chmod(0o755)
    for asking in (gpgv, validity, publicgpg):
        monkeypatch.setattr(asking, "_ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    with pytest.raises(GpgvFailed, match="was killed"):
        verify(keys, signature)
    with pytest.raises(GpgvFailed, match="was killed"):
        validity.ask_validity(keys.ring.keys[keys["alice"]], keys["alice"], b"")
    with pytest.raises(GnupgNotRun, match="was killed"):
        read_key_data(b"\0" * 8 + b"KBXf", "a keybox", [])


def test_what_needs_too_much_time_itself_is_not_called_killed() -> None:
    endless = ["bash", "-c", "while :; do :; done"]
    code, _ = run_child(endless, b"", environment={"PATH": "/usr/bin:/bin"}, timeout_s=60, most_bytes=1, cpu_s=1)
    assert code == -signal.SIGXCPU


def open_descriptors() -> set[tuple[str, str]]:
    """With what each is of: those of an earlier test may go meanwhile."""
    return {(link.name, os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@pytest.mark.parametrize("script", ["sleep 30", "exit 0", "yes '[GNUPG:] GOODSIG x'>&$FD", "echo 'x' >&$FD"])
def test_a_gpgv_that_hangs_or_babbles_is_refused_and_leaves_nothing(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    signature = keys.sign(DATA, "alice")
    fake = tmp_path / "gpgv"
    fake.write_text(f'#!/bin/bash\nFD=$6\n[ "$5" = --status-fd ] || exit 9\n{script.replace("sleep", "exec sleep")}\n')
    fake.chmod(0o755)
    monkeypatch.setattr(gpgv, "_ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    monkeypatch.setattr(gpgv, "TIMEOUT_S", 0.5)
    before = open_descriptors()
    refused(keys, signature)
    assert not open_descriptors() - before


# Clear-signed documents


def test_a_clear_signed_text_comes_out_unescaped(keys: Keys) -> None:
    signed = read_clearsigned(keys.clearsign(TEXT, "alice"), keys.ring, None, now_s=now_s())
    assert signed.text == TEXT and [s.primary for s in signed.signatures] == [keys["alice"]] and not signed.rejected


def test_each_signature_is_judged_alone(keys: Keys) -> None:
    document = keys.clearsign(TEXT, "alice", "mallory", "carol", "bob")
    allowed = frozenset({keys["alice"], keys["carol"], keys["mallory"]})
    signed = read_clearsigned(document, keys.ring, allowed, now_s=now_s())
    assert {s.primary for s in signed.signatures} == {keys["alice"], keys["carol"]}
    assert len(signed.rejected) == 2 and any(keys["mallory"] in str(why) for why in signed.rejected)


def test_one_key_counts_once_however_often_it_signs(keys: Keys) -> None:
    document = combine_clearsigned([keys.clearsign(TEXT, "alice", time_s=NOW_S - s) for s in (0, 60)])
    signed = read_clearsigned(document, keys.ring, None, now_s=now_s())
    assert len(unverified_signers(document)) == 1
    assert len(signed.signatures) == 1 and not signed.rejected


def test_documents_of_one_text_are_combined(keys: Keys) -> None:
    one, other = keys.clearsign(TEXT, "alice"), keys.clearsign(TEXT, "bob", digest="SHA512")
    signed = read_clearsigned(combine_clearsigned([one, other, one]), keys.ring, None, now_s=now_s())
    assert {s.primary for s in signed.signatures} == {keys["alice"], keys["bob"]}
    with pytest.raises(BadSignature, match="differ"):
        combine_clearsigned([one, keys.clearsign(TEXT + b"x\n", "bob")])


def test_sha1_and_expired_signatures_do_not_count(keys: Keys) -> None:
    for document in (
        keys.clearsign(TEXT, "alice", digest="SHA1", options=WEAK),
        keys.clearsign(TEXT, "alice", time_s=NOW_S + 3 * DAY_S),
    ):
        signed = read_clearsigned(document, keys.ring, None, now_s=now_s())
        assert not signed.signatures and len(signed.rejected) == 1


def test_any_changed_byte_of_the_text_leaves_no_signature(keys: Keys) -> None:
    document = keys.clearsign(TEXT, "alice")
    start = document.index(b"\n\n") + 2
    for at in range(start, document.index(b"\n-----BEGIN PGP SIG"), 5):
        changed = document[:at] + bytes([document[at] ^ 1]) + document[at + 1 :]
        try:
            assert not read_clearsigned(changed, keys.ring, None, now_s=now_s()).signatures
        except BadSignature:
            pass


@pytest.mark.parametrize(
    "change",
    [
        lambda d: b"before\n" + d,
        lambda d: d + b"after\n",
        lambda d: d + d,
        lambda d: d.replace(b"Hash: SHA256\n", b"Hash: SHA256\nNotDashEscaped: You need GnuPG\n"),
        lambda d: d.replace(b"Hash: SHA256\n", b"Hash: SHA256\nRefs: evil\n"),
        lambda d: d.replace(b"A: b\n", b"A: b \n"),
        lambda d: d.replace(b"A: b\n", b"A: b\r\n"),
        lambda d: d.replace(b"- - dash\n", b"- dash\n- \n"),
        lambda d: d.replace(b"- - dash\n", b"-dash\n"),
        lambda d: d.replace(b"A: b\n", b"A: b\0\n"),
        lambda d: d.replace(b"A: b\n", b"A: " + b"b" * 20000 + b"\n"),
        lambda d: d[: d.index(b"-----BEGIN PGP SIG")],
        lambda d: d.replace(b"-----END PGP SIGNATURE-----", b""),
        lambda d: b"",
        lambda d: d + b" " * (16 << 20),
    ],
)
def test_what_stands_around_or_readers_disagree_on_is_refused(keys: Keys, change) -> None:
    with pytest.raises(BadSignature):
        read_clearsigned(change(keys.clearsign(TEXT, "alice")), keys.ring, None, now_s=now_s())


def test_a_detached_signature_cannot_be_dressed_up_as_a_document(keys: Keys) -> None:
    signature = keys.sign(TEXT.removesuffix(b"\n"), "alice")
    document = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + TEXT.replace(b"- d", b"- - d") + signature
    signed = read_clearsigned(document, keys.ring, None, now_s=now_s())
    assert signed.text == TEXT and not signed.signatures and "class 00" in str(signed.rejected[0])


def test_too_many_signatures_are_refused(keys: Keys) -> None:
    document = keys.clearsign(TEXT, "alice")
    head = document.partition(b"-----BEGIN PGP SIGNATURE-----")[0]
    packet = dearmor(document[len(head) :], SIGNATURE_BLOCK)
    with pytest.raises(BadSignature, match="more than 32"):
        read_clearsigned(head + enarmor(packet * 33, SIGNATURE_BLOCK), keys.ring, None, now_s=now_s())


def test_unverified_signers_are_what_the_packets_claim(keys: Keys) -> None:
    assert set(unverified_signers(keys.clearsign(TEXT, "alice", "bob"))) == {keys["alice"], keys["bob"]}


# Documents of anybody


def rubbish(signature_of: bytes, text: bytes) -> bytes:
    """A document with a text of one's own and the signatures of another."""
    return (
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\n"
        + text
        + signature_of[signature_of.index(b"-----BEGIN PGP SIGNATURE") :]
    )


def test_a_text_is_not_looked_at_before_somebody_who_may_claims_to_have_signed_it(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_text", None)
    monkeypatch.setattr(module, "check", None)
    for name, why in (("mallory", "not in the keyring"), ("bob", "may not sign")):
        document = rubbish(keys.clearsign(TEXT, name), b"a\n" * 1000)
        signed = read_clearsigned(document, keys.ring, frozenset({keys["alice"]}), now_s=now_s())
        assert not signed.signatures and not signed.text
        assert len(signed.rejected) == 1 and why in str(signed.rejected[0])


@pytest.mark.parametrize("line", [b"a\n", b"\n", b"- \n", b"- -\n", b"a" * 16384 + b"\n", b"Hash: A\n"])
def test_rubbish_of_any_form_takes_a_few_times_its_size(keys: Keys, line: bytes) -> None:
    good = keys.clearsign(TEXT, "alice")
    document = rubbish(good, line * ((16_000_000) // len(line)))
    read_clearsigned(good, keys.ring, None, now_s=now_s())
    tracemalloc.start()
    try:
        assert not read_clearsigned(document, keys.ring, None, now_s=now_s()).signatures
    except BadSignature:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5 * len(document)


def test_bad_copies_of_one_keys_signature_cost_three_runs_of_gpgv(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def check(*arguments: object, **options: object) -> Signature:
        runs.append(arguments)
        return gpgv.check(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "check", check)
    many = combine_clearsigned([keys.clearsign(TEXT, "alice", time_s=NOW_S - s) for s in range(0, 600, 60)])
    signed = read_clearsigned(rubbish(many, b"a\n"), keys.ring, None, now_s=now_s())
    assert len(runs) == 3 and len(signed.rejected) == 10 and not signed.signatures


@pytest.mark.parametrize("length", [16384, 16385])
@pytest.mark.parametrize("before", [b"", b"\n" * 20000, b"abc\n" * 7000])
def test_a_line_is_too_long_wherever_it_stands(keys: Keys, length: int, before: bytes) -> None:
    document = keys.clearsign(before + b"x" * length + b"\nend\n", "alice")
    if length == 16384:
        assert read_clearsigned(document, keys.ring, None, now_s=now_s()).signatures
    else:
        with pytest.raises(BadSignature, match="too long"):
            read_clearsigned(document, keys.ring, None, now_s=now_s())
