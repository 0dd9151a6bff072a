# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykeys import RIGHTS, armored, fingerprint, guix, key_packets, policy, table

from gtfs.trust.packets import KEY_BLOCK, enarmor
from gtfs.trust.treepolicy import (
    FILE_BYTES,
    GOODLIST,
    KEYS,
    USERS,
    BadTreePolicy,
    find_missing_right,
    read_guix_authorizations,
    read_sequoia_policy,
)

ALL = " ".join(RIGHTS)
OID = "1" * 40

# The form that `sq-git init` and `sq-git policy authorize` write.
WRITTEN = f'''version = 0
commit_goodlist = [
    "{OID}",
    "{"2" * 64}",
]

[authorization.alice]
sign_commit = true
sign_tag = true
sign_archive = true
add_user = true
retire_user = true
audit = true
keyring = """
{armored("alice")}"""

[authorization."Bob <bob@example.org>"]
sign_commit = true
sign_tag = false
keyring = """
{armored("bob")}{armored("bob-laptop")}"""
'''


def test_a_policy_of_sequoia_git_is_read() -> None:
    found = read_sequoia_policy(WRITTEN.encode())
    assert found.rights_of(fingerprint("alice")) == set(RIGHTS)
    assert found.rights_of(fingerprint("bob")) == found.rights_of(fingerprint("bob-laptop")) == {"sign_commit"}
    assert found.rights_of(fingerprint("carol")) == frozenset()
    assert found.goodlist == {OID, "2" * 64}
    assert set(found.keys) == {fingerprint(name) for name in ("alice", "bob", "bob-laptop")}


def test_a_key_of_two_users_has_the_rights_of_both() -> None:
    both = policy(None, table("alice", "sign_commit"), table("robot", "sign_tag", armored("alice")))
    assert read_sequoia_policy(both).rights_of(fingerprint("alice")) == {"sign_commit", "sign_tag"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "version 0"),
        (b"version = 1", "version 0"),
        (b"version = false", "version 0"),
        (b"version = 0.0", "version 0"),
        (b"version = 0\nthreshold = 2", "unknown field 'threshold'"),
        (b"version = 0\n[authorization.a]\nsign_everything = true", "unknown right"),
        (b"version = 0\n[authorization.a]\nsign_commit = 1", "unknown right 'sign_commit'"),
        (b"version = 0\n[authorization.a]\nkeyring = 1", "no table with a keyring"),
        (b"version = 0\nauthorization = 1", "no table"),
        (b"version = 0\n[authorization]\na = 1", "no table"),
        (b"version = 0\ncommit_goodlist = 1", "no list"),
        (b'version = 0\ncommit_goodlist = ["1234"]', "whole id"),
        (b"version = 0\ncommit_goodlist = [1]", "whole id"),
        (b"version = 0\nversion = 0", "overwrite"),
        (b"version = \xff", "decode"),
        (b"nonsense", "Expected"),
        (b"version = " + b"9" * 5000, "integer"),
    ],
)
def test_a_policy_that_says_more_or_less_than_is_known_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(BadTreePolicy, match=reason):
        read_sequoia_policy(text)


def _repeated(text: str) -> bytes:
    return b"version = 0\nx = " + text.encode() * (FILE_BYTES // len(text) - 20)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version = 0\n" + b"#" * FILE_BYTES, "bytes where"),
        (b"version = 0\n" + b"".join(b"[authorization.u%d]\n" % n for n in range(40_000)), "users"),
        (b"version = 0\n" + b"".join(b"[authorization.u%d]\n" % n for n in range(100_000)), "bytes where"),
        (b"version = 0\n[authorization]\n" + b"".join(b"%x={}\n" % n for n in range(19_000)), "users"),
        (b"version = 0\n[authorization]\n" + b"".join(b"%x={}\n" % n for n in range(100_000)), "assignments"),
        (b"version = 0\ncommit_goodlist = [" + b'"%s",' % OID.encode() * (GOODLIST + 1) + b"]", "commits"),
        (b"version = 0\n" + b"a." * 100_000 + b"a = 1", "dots"),
        (b"version = 0\n[" + b"a." * 100_000 + b"a]", "dots"),
        (_repeated("["), "nested"),
        (_repeated("{a="), "assignments"),
        (_repeated("[ {a = "), "assignments"),
        (b"version = 0\nx = " + b"{a=" * 19_000, "nested"),
        (_repeated("1"), "integer"),
        (_repeated('"'), "cannot be read|Unescaped|Expected|after"),
        (_repeated("'''"), "cannot be read|Expected|after|Unescaped"),
        (_repeated('""" \\\n'), "."),
    ],
    ids=range(16),
)
def test_a_policy_of_any_size_and_form_is_refused_by_the_limits(data: bytes, reason: str) -> None:
    with pytest.raises(BadTreePolicy, match=reason):
        read_sequoia_policy(data)


def test_a_policy_as_large_as_allowed_is_read() -> None:
    users = {f"user {n}": "sign_commit" for n in range(USERS)}
    assert len(read_sequoia_policy(policy(users, goodlist=(OID,) * 10)).keys) == USERS
    with pytest.raises(BadTreePolicy, match=f"limit of {USERS} users"):
        read_sequoia_policy(policy(users | {"one more": ""}))
    many = enarmor(b"".join(key_packets(f"key {n}") for n in range(KEYS + 1)), KEY_BLOCK).decode()
    with pytest.raises(BadTreePolicy, match=f"limit of {KEYS} keys"):
        read_sequoia_policy(policy(None, table("a", "", many)))


@given(st.binary(max_size=300) | st.text(alphabet='version=0\n[]{}."a', max_size=100).map(str.encode))
def test_bytes_of_any_form_are_a_policy_or_are_refused(data: bytes) -> None:
    for read in (read_sequoia_policy, read_guix_authorizations):
        try:
            read(data)
        except BadTreePolicy:
            pass


def test_a_key_that_cannot_be_read_stops_no_other_and_is_noticed() -> None:
    version_6 = enarmor(b"\xc6\x06\x06\0\0\0\1\x1b", KEY_BLOCK).decode()
    broken = armored("carol").replace("=\n", "\n")[:-60]
    for odd in (version_6, broken, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n"):
        found = read_sequoia_policy(policy(None, table("bob", "sign_commit", armored("bob"), odd)))
        assert found.rights_of(fingerprint("bob")) == {"sign_commit"}
        plain = read_sequoia_policy(policy(None, table("bob", "sign_commit")))
        assert "add_user" in (find_missing_right(plain, found, frozenset({"sign_commit"})) or "")
        assert "retire_user" in (find_missing_right(found, plain, frozenset({"sign_commit", "add_user"})) or "")


# -- changes --------------------------------------------------------------------------------------------------------

BEFORE = policy({"alice": ALL, "bob": "sign_commit"})
CHANGES = [
    # What the policy becomes, and the rights that the change takes.
    (BEFORE, ""),
    (policy({"bob": "sign_commit", "alice": ALL}), ""),
    (policy({"alice": ALL, "bob": "sign_commit"}, goodlist=(OID,)), "audit"),
    (policy({"alice": ALL}), "retire_user"),
    (policy({"alice": ALL, "bob": ""}), "retire_user"),
    (policy({"alice": ALL, "bob": "sign_commit", "carol": ""}), "add_user"),
    (policy({"alice": ALL, "bob": "sign_commit", "carol": "sign_commit"}), "add_user sign_commit"),
    (policy({"alice": ALL, "bob": "sign_commit", "carol": "sign_tag"}), "add_user sign_tag"),
    (policy({"alice": ALL, "bob": "sign_commit sign_tag"}), "add_user sign_tag"),
    (policy({"alice": ALL, "bob": "sign_commit add_user"}), "add_user"),
    (policy({"alice": ALL, "bob": "sign_commit audit"}), "add_user audit"),
    (policy({"alice": ALL, "bob": "sign_tag"}), "add_user retire_user sign_tag"),
    (policy({"alice": ALL}, table("bob", "sign_commit", armored("bob"), armored("two"))), "add_user sign_commit"),
    (policy({"alice": ALL}, table("bob", "sign_commit", armored("two"))), "add_user retire_user sign_commit"),
    (policy({"bob": "sign_commit"}, table("alice", ALL, armored("alice"), armored("bob"))), ALL),
    (policy({"alice": ALL}, table("bob", "sign_commit", armored("bob", revoked=True))), ""),
    (policy({"alice": ALL}, table("bob", "sign_commit", armored("bob", user_ids=("Bob",)))), ""),
    (b"version = 0", "retire_user"),
]  # fmt: skip


@pytest.mark.parametrize(("after", "needed"), CHANGES, ids=range(len(CHANGES)))
def test_a_change_takes_exactly_its_rights(after: bytes, needed: str) -> None:
    old, new = read_sequoia_policy(BEFORE), read_sequoia_policy(after)
    wanted = frozenset(needed.split())
    for count in range(len(RIGHTS) + 1):
        for rights in map(frozenset, itertools.combinations(RIGHTS, count)):
            assert (find_missing_right(old, new, rights) is None) == (wanted <= rights), rights


def test_a_part_that_goes_from_a_key_could_be_its_revocation() -> None:
    old = read_sequoia_policy(policy(None, table("bob", "sign_commit", armored("bob", revoked=True))))
    new = read_sequoia_policy(policy({"bob": "sign_commit"}))
    assert "retire_user" in (find_missing_right(old, new, frozenset({"sign_commit", "add_user"})) or "")
    assert find_missing_right(new, old, frozenset()) is None


# -- Guix -----------------------------------------------------------------------------------------------------------

# The example of the Guix manual, "Specifying Channel Authorizations".
MANUAL = b""";; Example '.guix-authorizations' file.

(authorizations
 (version 0)               ;current file format version

 (("AD17 A21E F8AE D8F1 CC02  DBD9 F8AE D8F1 765C 61E3"
   (name "alice"))
  ("2A39 3FFF 68F4 EF7A 3D29  12AF 68F4 EF7A 22FB B2D5"
   (name "bob"))
  ("CABB A931 C0FF EEC6 900D  0CFB 090B 1199 3D9A EBB5"
   (name "charlie"))))
"""


def test_authorizations_of_guix_are_read() -> None:
    assert read_guix_authorizations(MANUAL).signers == {
        "AD17A21EF8AED8F1CC02DBD9F8AED8F1765C61E3",
        "2A393FFF68F4EF7A3D2912AF68F4EF7A22FBB2D5",
        "CABBA931C0FFEEC6900D0CFB090B11993D9AEBB5",
    }
    assert read_guix_authorizations(b"(authorizations (version 0) ())").signers == frozenset()


def test_version_1_of_guix_knows_ssh_keys() -> None:
    ssh = "SHA256:" + "a" * 43
    both = f'(authorizations (version 1) (("{"A" * 40}" (format openpgp)) ("{ssh}" (name "x\\"y") (format sshsig))))'
    assert read_guix_authorizations(both.encode()).signers == {"A" * 40, ssh}
    with pytest.raises(BadTreePolicy):  # in version 0 there is no format
        read_guix_authorizations(both.replace("version 1", "version 0").encode())
    with pytest.raises(BadTreePolicy, match="format"):
        read_guix_authorizations(both.replace("sshsig", "x509").encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "unknown version"),
        (b"(authorizations (version 2) ())", "unknown version"),
        (b'(authorizations (version "0") () (more))', "unknown version"),
        (b"(authorizations (version 0))", "unknown version"),
        (b"(authorizations (version 0) ()) (authorizations (version 0) ())", "unknown version"),
        (b"(authorizations (version 0) (()))", "an entry"),
        (b"(authorizations (version 0) (ABCD))", "an entry"),
        (b"(authorizations (version 0) ((" + b"A" * 40 + b")))", "an entry"),
        (b'(authorizations (version 0) (("ABCD")))', "fingerprint"),
        (b"(authorizations (version 0) (", "not closed"),
        (b")", "not opened"),
        (b'(authorizations "', "character 16"),
        (b'(authorizations "\\x41;")', "character 16"),
        (b"#| (authorizations |#", "character 0"),
        (b"'(authorizations)", "character 0"),
        (b"(" * 100_000, "nested"),
        (b'(authorizations (version 0) "' + b"a" * FILE_BYTES + b'")', "bytes where"),
        (b'(authorizations (version 0) "' + b"\\" * (FILE_BYTES - 100), "character"),
        (guix(*["A" * 40] * (USERS + 1)), "entries"),
        (b"\xff", "UTF-8"),
    ],
    ids=range(20),
)
def test_authorizations_that_are_not_understood_are_refused(text: bytes, reason: str) -> None:
    with pytest.raises(BadTreePolicy, match=reason):
        read_guix_authorizations(text)
