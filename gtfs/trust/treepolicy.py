# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of who may sign that projects keep in their own tree (design.md §10): two foreign formats, read strictly.

``openpgp-policy.toml`` of sequoia-git and ``.guix-authorizations`` of Guix. A file that says more than is known here is
refused, as it could be a restriction. What a file means for a history is for `gtfs.trust.path`. Pure functions, any
thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, parse_fingerprint, parse_signer
from gtfs.trust.armor import read_key_blocks
from gtfs.trust.keyring import Keys, merge_keys
from gtfs.trust.packets import BadPackets
from gtfs.trust.publickey import KeyReader, PublicKey

SEQUOIA, GUIX = "openpgp-policy.toml", ".guix-authorizations"

# What a file may have at most; the time and memory that reading it takes grow with these alone.
FILE_BYTES: Final = 1 << 20
USERS: Final = 1000
GOODLIST: Final = 10_000
KEYS: Final = 4000  # of all users together
_NESTING: Final = 8  # parentheses of .guix-authorizations
_DOTS: Final = 16  # in a line of TOML: tomllib takes time by the square of a dotted key's parts
_ASSIGNMENTS: Final = 20_000  # equals signs of TOML: USERS have 8 each, and the armor of KEYS has 3

RIGHTS: Final = ("sign_commit", "sign_tag", "sign_archive", "add_user", "retire_user", "audit")

_COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_TOKEN = re.compile(r'[ \t\r\n\f]+|;[^\n]*|([()])|"((?>[^"\\]|\\["\\])*)"|([A-Za-z0-9_.-]+)')


class BadTreePolicy(GtfsError):
    """A list of who may sign that cannot be read; then nobody may."""

    fault = Blame.TRUST

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = f"its {name} cannot be read: {reason}"


@dataclass(frozen=True)
class User:
    """What one user may, and by which keys; ``unread`` is a digest of the keyring if there is more in it."""

    rights: frozenset[str]  # of RIGHTS
    keys: Mapping[Fingerprint, PublicKey]
    unread: bytes = b""


@dataclass(frozen=True)
class SequoiaPolicy:
    """An ``openpgp-policy.toml`` of version 0: its users by name, and the ids of audited commits in hexadecimal."""

    users: Mapping[str, User] = field(default_factory=dict)
    goodlist: frozenset[str] = frozenset()

    @cached_property
    def keys(self) -> Keys:
        """The keys of all users."""
        found: Keys = {}
        for user in self.users.values():
            merge_keys(found, user.keys)
        return found

    def rights_of(self, key: Fingerprint) -> frozenset[str]:
        """What a key may: all that its users may."""
        return frozenset[str]().union(*(user.rights for user in self.users.values() if key in user.keys))


@dataclass(frozen=True)
class GuixAuthorizations:
    """The fingerprints in a ``.guix-authorizations``, of keys that sign: primary ones, subkeys, and SSH keys."""

    signers: frozenset[Fingerprint]


def read_sequoia_policy(data: bytes) -> SequoiaPolicy:
    """Read an ``openpgp-policy.toml``; raises `BadTreePolicy`."""
    _check_size(SEQUOIA, data)
    if any(line.count(b".") > _DOTS for line in data.split(b"\n")):
        raise BadTreePolicy(SEQUOIA, f"over the limit: a line with more than {_DOTS} dots")
    if data.count(b"=") > _ASSIGNMENTS:
        raise BadTreePolicy(SEQUOIA, f"over the limit: more than {_ASSIGNMENTS} assignments")
    import tomllib  # few have such a file

    try:
        found: dict[str, Any] = tomllib.loads(data.decode())
    except RecursionError:
        raise BadTreePolicy(SEQUOIA, "over the limit: it is nested too deeply") from None
    except ValueError as error:  # no UTF-8, no TOML, or a number that Python does not read
        raise BadTreePolicy(SEQUOIA, str(error)[:200]) from None
    version, goodlist = found.pop("version", None), found.pop("commit_goodlist", [])
    users = found.pop("authorization", {})
    if version != 0 or isinstance(version, bool | float):
        raise BadTreePolicy(SEQUOIA, "only version 0 is known")
    if found:
        raise BadTreePolicy(SEQUOIA, f"unknown field {next(iter(found))[:60]!r}")
    if not isinstance(users, dict) or len(users) > USERS:
        raise BadTreePolicy(SEQUOIA, f"authorization is no table, or over the limit of {USERS} users")
    if not isinstance(goodlist, list) or len(goodlist) > GOODLIST:
        raise BadTreePolicy(SEQUOIA, f"commit_goodlist is no list, or over the limit of {GOODLIST} commits")
    if not all(isinstance(oid, str) and _COMMIT_ID.match(oid) for oid in goodlist):
        raise BadTreePolicy(SEQUOIA, "commit_goodlist holds what is no commit's whole id")
    policy = SequoiaPolicy({name: _user(name, table) for name, table in users.items()}, frozenset(goodlist))
    if sum(len(user.keys) for user in policy.users.values()) > KEYS:
        raise BadTreePolicy(SEQUOIA, f"over the limit of {KEYS} keys")
    return policy


def _user(name: str, table: object) -> User:
    if not isinstance(table, dict) or not isinstance(keyring := table.get("keyring", ""), str):
        raise BadTreePolicy(SEQUOIA, f"the user {name[:60]!r} is no table with a keyring")
    rights = {right: table[right] for right in table if right != "keyring"}
    for right, given in rights.items():
        if right not in RIGHTS or not isinstance(given, bool):
            raise BadTreePolicy(SEQUOIA, f"the user {name[:60]!r} has an unknown right {right[:60]!r}")
    text = keyring.encode()
    blocks, complaints = read_key_blocks(text)
    reader = KeyReader()
    for block in blocks:
        try:
            reader.read(block)
        except BadPackets as error:
            complaints.append(error.reason)
    # A key that gpgv cannot use lets nobody sign here, but whoever adds one must have the right to.
    unread = hashlib.sha256(text).digest() if complaints or reader.complaints else b""
    return User(frozenset(right for right, given in rights.items() if given), reader.keys, unread)


def find_missing_right(before: SequoiaPolicy, after: SequoiaPolicy, rights: frozenset[str]) -> str | None:
    """Why whoever has these rights may not turn one policy into the other; None if that is allowed.

    The rules of sequoia-git: who adds gives no right that he has not himself. A key grows by what its owner signed, and
    for that nobody needs a right; what goes from a key could be its revocation.
    """
    for right, what in _needed(before, after):
        if right not in rights:
            return f"it {what}, and who signed it lacks the right {right}"
    return None


def _needed(before: SequoiaPolicy, after: SequoiaPolicy) -> Iterator[tuple[str, str]]:
    """The rights that a change takes, and what for."""
    if before.goodlist != after.goodlist:
        yield "audit", "changes the list of audited commits"
    for name in sorted(before.users.keys() | after.users.keys()):
        shown = name[:60] if name.isprintable() else ascii(name)[:60]
        old, new = before.users.get(name), after.users.get(name)
        if new is None:
            yield "retire_user", f"removes the user {shown}"
            continue
        if old is None:
            yield "add_user", f"adds the user {shown}"
            old = User(frozenset(), {})
        gained = new.rights - old.rights
        if old.rights - new.rights:
            yield "retire_user", f"takes rights from the user {shown}"
        if new.keys.keys() - old.keys.keys() or (new.unread and new.unread != old.unread):
            yield "add_user", f"adds a key of the user {shown}"
            gained = new.rights
        if gained:
            yield "add_user", f"gives rights to the user {shown}"
        for right in sorted(gained):
            yield right, f"gives the right {right} to the user {shown}"
        if old.unread and new.unread != old.unread:
            yield "retire_user", f"removes a key of the user {shown}"
        for fingerprint, key in old.keys.items():
            if not _packets(key) <= (_packets(new.keys[fingerprint]) if fingerprint in new.keys else set()):
                yield "retire_user", f"removes a key, or a part of one, of the user {shown}"


def _packets(key: PublicKey) -> set[tuple[tuple[int, bytes], bytes]]:
    return {(place, body) for place, part in key.parts.items() for body in (b"", *part.signatures)}


def read_guix_authorizations(data: bytes) -> GuixAuthorizations:
    """Read a ``.guix-authorizations`` of version 0 or 1; raises `BadTreePolicy`."""
    _check_size(GUIX, data)
    try:
        forms = _read_forms(data.decode())
    except UnicodeDecodeError:
        raise BadTreePolicy(GUIX, "it is no UTF-8") from None
    match forms:
        case [["authorizations", ["version", ("0" | "1") as version], [*entries]]]:
            pass
        case _:
            raise BadTreePolicy(GUIX, "it is not (authorizations (version 0) (ENTRY ...)), or of an unknown version")
    if len(entries) > USERS:
        raise BadTreePolicy(GUIX, f"over the limit of {USERS} entries")
    return GuixAuthorizations(frozenset(_entry(entry, version) for entry in entries))


def _entry(entry: object, version: str) -> Fingerprint:
    match entry:
        case [_Text() as text, *pairs]:
            pass
        case _:
            raise BadTreePolicy(GUIX, 'an entry is not ("FINGERPRINT" (name "NAME"))')
    formats = [pair[1:] for pair in pairs if isinstance(pair, list) and pair[:1] == ["format"]]
    is_ssh = version == "1" and formats == [["sshsig"]]
    if version == "1" and formats and not is_ssh and formats != [["openpgp"]]:
        raise BadTreePolicy(GUIX, "an entry is of an unknown format")
    try:
        return parse_signer(text) if is_ssh else parse_fingerprint("".join(text.split()))
    except BadId as error:
        raise BadTreePolicy(GUIX, str(error)) from None


class _Text(str):
    """A string of an S-expression; words are plain str."""


def _read_forms(text: str) -> list[Any]:
    """The S-expressions of a text as lists; raises `BadTreePolicy`, also for what Scheme has beyond these."""
    forms: list[Any] = []
    open_lists = [forms]
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise BadTreePolicy(GUIX, f"it cannot be read at character {at}")
        at = token.end()
        bracket, string, word = token.groups()
        if bracket == "(":
            if len(open_lists) > _NESTING:
                raise BadTreePolicy(GUIX, f"over the limit: nested more than {_NESTING} deep")
            inner: list[Any] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif bracket == ")":
            open_lists.pop()
            if not open_lists:
                raise BadTreePolicy(GUIX, "a parenthesis is closed that was not opened")
        elif string is not None:
            open_lists[-1].append(_Text(re.sub(r"\\(.)", r"\1", string)))
        elif word is not None:
            open_lists[-1].append(word)
    if len(open_lists) > 1:
        raise BadTreePolicy(GUIX, "a parenthesis is not closed")
    return forms


def _check_size(name: str, data: bytes) -> None:
    if len(data) > FILE_BYTES:
        raise BadTreePolicy(name, f"over the limit: {len(data)} bytes where {FILE_BYTES} are allowed")
