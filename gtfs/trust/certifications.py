# SPDX-License-Identifier: GPL-3.0-or-later
"""Who certified whom among some public keys: as the packets claim, and as gpg finds good. Blocking; any thread.

gpg is shown only the keys and certifications that are asked about, and only its ``!`` counts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gtfs.ids import Fingerprint
from gtfs.trust.keyfacts import fields_of
from gtfs.trust.packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SIGNATURE,
    USER_ATTRIBUTE,
    USER_ID,
    BadPackets,
    Packet,
    SignatureClaim,
    claim_of,
    key_fingerprint,
    key_id,
    read_packets,
)
from gtfs.trust.publicgpg import ask_gpg, keys_as_packets
from gtfs.trust.weboftrust import Edge

_CERTIFICATIONS: Final = range(0x10, 0x14)
_ABOUT_A_USER: Final = frozenset({*_CERTIFICATIONS, 0x30})  # 0x30 takes one back
_OF_ONE: Final = 8  # signatures by one key on one user id that are looked at: of more, none
_AT_ONCE: Final = 4000  # certifications a run of gpg
_NO_GOOD: Final = frozenset({"i", "n", "r", "e", "d"})


@dataclass
class _User:
    """A user id, what its owner signed of it, and what others did, by the id of their key."""

    packet: bytes
    own: list[bytes] = field(default_factory=list)
    others: dict[str, list[bytes]] = field(default_factory=dict)


@dataclass
class _Key:
    packet: bytes
    signatures: list[bytes] = field(default_factory=list)
    users: list[_User] = field(default_factory=list)

    def with_only(self, certifiers: Collection[str]) -> bytes:
        """The packets without certifications by others than these."""
        out = [self.packet, *self.signatures]
        for user in self.users:
            out += [user.packet, *user.own]
            for certifier in sorted(certifiers):
                theirs = user.others.get(certifier, [])
                out += theirs if len(theirs) <= _OF_ONE else []
        return b"".join(out)


class Certifications:
    """Those among the keys in ``data``, packets as gpg exports them. Raises `BadPackets`."""

    def __init__(self, data: bytes) -> None:
        self._keys: dict[Fingerprint, _Key] = {}
        _read(data, self._keys)
        ids: dict[str, list[Fingerprint]] = {}
        for fingerprint in self._keys:
            ids.setdefault(key_id(fingerprint), []).append(fingerprint)
        # Two keys of one id: nobody can tell which of them gpg means.
        self._by_id = {short: found[0] for short, found in ids.items() if len(found) == 1}

    def claimed(self) -> dict[Fingerprint, set[Fingerprint]]:
        """Who is said to have certified each key."""
        return {
            fingerprint: {self._by_id[s] for user in key.users for s in user.others if s in self._by_id}
            for fingerprint, key in self._keys.items()
        }

    def verify(self, asked: Collection[Edge]) -> set[Edge]:
        """Those that gpg finds good, today; raises `GnupgUnusable`."""
        good: set[Edge] = set()
        every = sorted(asked)
        for at in range(0, len(every), _AT_ONCE):
            part = every[at : at + _AT_ONCE]
            certifiers: dict[Fingerprint, set[str]] = {f: set() for edge in part for f in edge}
            for certifier, key in part:
                certifiers[key].add(key_id(certifier))
            ring = keys_as_packets(b"".join(self._keys[f].with_only(by) for f, by in certifiers.items()))
            listed = ask_gpg(ring, "--no-sig-cache", "--check-sigs")
            named = good_certifications(listed, int(time.time()))
            good |= {(self._by_id[s], key) for s, key in named if s in self._by_id} & set(part)
        return good


def good_certifications(listed: bytes, now_s: int) -> set[tuple[str, Fingerprint]]:
    """From a listing of gpg's with colons and checked signatures: the id of who certified, and the key.

    A certification counts if it is good, has not expired and was not taken back, on a user id that its owner signed
    and did not revoke, and both keys are good today.
    """
    usable: set[str] = set()
    found: set[tuple[str, Fingerprint]] = set()
    key, short, is_first = Fingerprint(""), "", False
    is_good_key = is_good_user = False
    made: dict[str, int] = {}
    taken_back: dict[str, int] = {}

    def close() -> None:
        if is_good_key and is_good_user:
            found.update((s, key) for s, at in made.items() if s != short and taken_back.get(s, -1) < at)
        made.clear()
        taken_back.clear()

    for line in fields_of(listed):
        kind = line[0]
        if kind in ("pub", "uid", "uat", "sub"):
            close()
            is_good_user = kind in ("uid", "uat") and line[1] not in _NO_GOOD
        if kind == "pub":
            is_good_key, short, is_first = line[1] not in _NO_GOOD, line[4], True
            if is_good_key:
                usable.add(short)
        elif kind == "fpr" and is_first:
            key, is_first = Fingerprint(line[9]), False
        elif kind in ("sig", "rev") and line[1] == "!" and is_good_user:
            at, expires, sig_class = line[5], line[6], line[10][:2]
            if not at.isdigit() or (expires.isdigit() and int(expires) and int(expires) <= now_s):
                continue
            if kind == "rev" and sig_class == "30":
                taken_back[line[4]] = max(int(at), taken_back.get(line[4], -1))
            elif kind == "sig" and sig_class in ("10", "11", "12", "13") and int(at) <= now_s:
                made[line[4]] = max(int(at), made.get(line[4], -1))
    close()
    return {(s, certified) for s, certified in found if s in usable}


def _read(data: bytes, keys: dict[Fingerprint, _Key]) -> None:
    for fingerprint, packets in _by_key(read_packets(data)):
        key = keys.setdefault(fingerprint, _Key(packets[0].raw))
        own = (fingerprint, key_id(fingerprint))
        user: _User | None = None
        for packet in packets[1:]:
            if packet.tag == PUBLIC_SUBKEY:  # none of them certifies
                break
            if packet.tag in (USER_ID, USER_ATTRIBUTE):
                user = _User(packet.raw)
                key.users.append(user)
            elif packet.tag == SIGNATURE:
                claim = _claim(packet)
                if user is None:
                    key.signatures.append(packet.raw)
                elif claim is not None and claim.issuer in own:
                    user.own.append(packet.raw)
                elif claim is not None and claim.sig_class in _ABOUT_A_USER and claim.issuer:
                    short = claim.issuer if len(claim.issuer) == 16 else key_id(claim.issuer)
                    user.others.setdefault(short, []).append(packet.raw)


def _by_key(packets: Iterable[Packet]) -> Iterator[tuple[Fingerprint, list[Packet]]]:
    fingerprint: Fingerprint | None = None
    run: list[Packet] = []
    for packet in packets:
        if packet.tag == PUBLIC_KEY:
            if fingerprint is not None:
                yield fingerprint, run
            fingerprint, run = key_fingerprint(packet.body), []
        run.append(packet)
    if fingerprint is not None:
        yield fingerprint, run


def _claim(packet: Packet) -> SignatureClaim | None:
    try:
        return claim_of(packet)
    except BadPackets:
        return None
