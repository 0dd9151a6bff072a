# SPDX-License-Identifier: GPL-3.0-or-later
"""The frozen keyring as ``gtfs trust`` shows and changes it, and what of it ``gtfs status`` tells (design.md §10).

What a key may do follows from the catalogue and the policy lines that name it, and from whether it counts where nobody
is named. Any thread, one at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, is_ssh_key, parse_fingerprint
from gtfs.ingest.refmoves import find_refused
from gtfs.repo.repository import GitFailed
from gtfs.state.ringfollow import describe_followed, follow, note_added, note_removed, stop_following
from gtfs.state.state import State
from gtfs.trust.gnupghome import GnupgUnusable
from gtfs.trust.keyfacts import KeyFacts, read_facts
from gtfs.trust.keyfiles import pick, read_key_files
from gtfs.trust.keyring import Keyring, MissingKeyring, freeze, refuse_subkey
from gtfs.trust.policy import Policy
from gtfs.trust.publickey import PublicKey
from gtfs.trust.reason import Reason

log = logging.getLogger(__name__)

_SHOWN = 100  # keys of a status that soon sign no more


class BadTrust(GtfsError):
    """A request about the keyring that cannot be understood, or would do harm; the text says what to do."""

    fault = Blame.USAGE


def asked_keys(request: Mapping[str, Any]) -> list[Fingerprint]:
    """The keys that a request about the keyring names; raises `BadTrust`."""
    try:
        return [parse_fingerprint(text) for text in request.get("keys") or ()]
    except BadId as error:
        raise BadTrust(str(error)) from None


def answer(state: State, request: dict[str, Any]) -> dict[str, Any]:
    """What `gtfs trust` asks, also of a running node; raises `BadTrust`, `BadKeyring`, `GnupgUnusable`, OSError,
    and what `follow` does.
    """
    verb, keys = request.get("verb"), asked_keys(request)
    if verb == "add":
        return add(state, [Path(name) for name in request.get("files") or ()], keys)
    if verb == "remove":
        return remove(state, keys, force=request.get("force") is True)
    if verb == "list":
        return describe_ring(state)
    if verb == "follow":
        return follow(state, Path(str(request.get("repository"))), request.get("ref"), request.get("paths") or ())
    if verb == "unfollow":
        return stop_following(state)
    raise BadTrust(f"the request trust knows no {verb!r}; is this node older?")


def add(state: State, files: Sequence[Path], only: Collection[Fingerprint] = ()) -> dict[str, Any]:
    """Freeze the keys in these files beside those that are here; a newer copy of a key adds what it has more."""
    found = read_key_files(files)
    keys = pick(found.keys, only) if only else found.keys
    before = state.keyring
    here = before.primaries if before is not None else frozenset()
    note_added(state.layout, keys)
    ring = freeze(keys, state.layout.keyring, before=before, stay=here, left=state.layout.left_keys)
    state.use_keyring(before.named_only - keys.keys() if before is not None else ())
    return describe_added(before, ring, keys, found.left_out)


def describe_added(
    before: Keyring | None, ring: Keyring, keys: Collection[Fingerprint], left_out: list[str]
) -> dict[str, Any]:
    """What `gtfs trust add` shows of the ``keys`` that were in the files."""
    here = before.primaries if before is not None else frozenset()
    changed = {f for f in keys if f in here and before is not None and _parts(ring.keys[f]) != _parts(before.keys[f])}
    return {
        "digest": ring.digest.hex(),
        "keys": len(ring.primaries),
        "first": before is None,
        "taken": [
            {
                "fingerprint": f,
                "user_ids": ring.keys[f].user_ids,
                "was": "changed" if f in changed else "here" if f in here else "new",
            }
            for f in sorted(keys)
        ],
        "left_out": left_out,
    }


def remove(state: State, wanted: Collection[Fingerprint], *, force: bool) -> dict[str, Any]:
    """Take keys out of the ring; what they signed counts no more. Raises `BadTrust`, `MissingKeyring`."""
    ring = state.keyring
    gone, left = check_removal(state, wanted, force=force)
    note_removed(state.layout, wanted)
    frozen = freeze(left, state.layout.keyring, before=ring, left=state.layout.left_keys)
    state.use_keyring(frozenset() if ring is None else ring.named_only & left.keys())
    return describe_removed(frozen, gone, refused_refs(state))


def check_removal(
    state: State, wanted: Collection[Fingerprint], *, force: bool
) -> tuple[list[dict[str, Any]], dict[Fingerprint, PublicKey]]:
    """The keys that would go, described, and those that would be left. Raises `BadTrust`, `MissingKeyring`."""
    ring = state.keyring
    keys = {} if ring is None else dict(ring.keys)
    for fingerprint in wanted:
        refuse_subkey(fingerprint, keys)
        if fingerprint not in keys:
            raise MissingKeyring(str(state.layout.keyring), f"there is no key {fingerprint} in it")
    gone = [{"fingerprint": f, "user_ids": keys[f].user_ids, "policies": naming(state, f)} for f in wanted]
    left = {f: key for f, key in keys.items() if f not in wanted}
    if not force:
        _keep_signers(state, left.keys(), wanted)
    return gone, left


def describe_removed(ring: Keyring, gone: list[dict[str, Any]], refused: Mapping[bytes, Reason]) -> dict[str, Any]:
    """What `gtfs trust remove` shows."""
    held_back = {n.decode("utf-8", "replace"): why.describe() for n, why in refused.items()}
    return {"digest": ring.digest.hex(), "keys": len(ring.keys), "removed": gone, "refs_held_back": held_back}


def refused_refs(state: State, ring: Keyring | None = None) -> dict[bytes, Reason]:
    """The refs of the catalogue that signatures, or the lack of them, would keep from where they are listed now.

    By ``ring``, if it is given, in the place of the node's.
    """
    held = state.held
    if held is None:
        return {}
    try:
        demands = state.demands() if ring is None else state.demands()._replace(keyring=ring)
        return find_refused(state.repository, state.index, held.catalogue.refs, demands)
    except GitFailed as error:  # it is only told
        log.warning("which refs are held back cannot be said: %s", error)
        return {}


def _keep_signers(state: State, left: Collection[Fingerprint], wanted: Collection[Fingerprint]) -> None:
    own, held = state.own_key(), state.held
    if own in wanted:
        raise BadTrust(f"{own} signs the catalogues of this publisher; gtfs init --sign-key changes it")
    if held is None:
        return
    signers = frozenset(held.catalogue.signers)
    enough = len(signers & set(left)) >= max(1, held.catalogue.threshold)
    if signers & set(wanted) and not enough:
        raise BadTrust(
            f"{', '.join(sorted(signers & set(wanted)))} signs the catalogues, and without it none is believed any "
            "more: this node would follow nobody; --force removes it all the same"
        )


def naming(state: State, fingerprint: Fingerprint) -> list[str]:
    """The policy lines, of this node and of the catalogue, that name a key."""
    lines = [*state.config.policies(), *(state.held.catalogue.policy if state.held is not None else ())]
    return list(dict.fromkeys(line.to_line() for line in lines if fingerprint in _people(line)))


def named(state: State) -> frozenset[Fingerprint]:
    """The keys that the catalogue, the settings or a policy line name."""
    held, own = state.held, state.own_key()
    lines = [*state.config.policies(), *(held.catalogue.policy if held is not None else ())]
    found = {signer for line in lines for signer in _people(line) if not is_ssh_key(signer)}
    if held is not None:
        found |= {*held.catalogue.signers, *held.catalogue.freshness}
    return frozenset({*found, *([own] if own else [])})


def _people(line: Policy) -> frozenset[Fingerprint]:
    return (line.signers or frozenset()) | (line.attesters or frozenset())


def describe_ring(state: State) -> dict[str, Any]:
    """What `gtfs trust list` and `check` show. Raises `GnupgUnusable`, OSError."""
    ring, now_s = state.keyring, int(time.time())
    facts = {} if ring is None else read_facts(ring.keys)
    every, wanted = frozenset() if ring is None else ring.everybody, named(state)
    keys = [] if ring is None else [_describe(state, f, facts.get(f), now_s, every, wanted) for f in sorted(ring.keys)]
    return {
        "digest": None if ring is None else ring.digest.hex(),
        "keyring": str(state.layout.keyring),
        "keys": keys,
        "follows": describe_followed(state),
        "missing": [
            {"fingerprint": f, "policies": naming(state, f)}
            for f in sorted(wanted - (frozenset() if ring is None else ring.primaries))
        ],
    }


def _describe(
    state: State,
    fingerprint: Fingerprint,
    facts: KeyFacts | None,
    now_s: int,
    every: Collection[Fingerprint],
    wanted: Collection[Fingerprint],
) -> dict[str, Any]:
    held, ring = state.held, state.keyring
    flood = None if ring is None else ring.flood(fingerprint)
    signers = set(held.catalogue.signers if held is not None else ()) | {state.own_key()}
    return {
        "fingerprint": fingerprint,
        "user_ids": list(facts.user_ids) if facts is not None else [],
        "created": facts.created_s if facts is not None else None,
        "expires": facts.expires_s if facts is not None else None,
        "trouble": flood or ("gpg cannot read it" if facts is None else facts.trouble(now_s)),
        "named": fingerprint in wanted,
        "catalogues": fingerprint in signers,
        "anything": fingerprint in every,
        "policies": naming(state, fingerprint),
    }


class RingWatch:
    """The keys of a node's ring as gpg told them last: asked once for each ring, as that takes a while."""

    def __init__(self) -> None:
        self._digest = b""
        self._facts: dict[Fingerprint, KeyFacts] = {}

    def look(self, state: State) -> None:
        """Ask gpg, if the ring is another one than last time."""
        ring = state.keyring
        if ring is None or ring.digest == self._digest:
            return
        try:
            self._facts, self._digest = read_facts(ring.keys), ring.digest
        except (GnupgUnusable, OSError) as error:
            log.info("the keys of the ring cannot be listed: %s", error)

    def describe(self, state: State) -> dict[str, Any]:
        """The ring in a status; ``expiring`` is null as long as nobody looked."""
        ring, now_s = state.keyring, int(time.time())
        follows = describe_followed(state)
        if ring is None:
            return {"digest": None, "keys": 0, "expiring": [], "follows": follows}
        out: dict[str, Any] = {"digest": ring.digest.hex(), "keys": len(ring.primaries), "expiring": None}
        out["follows"] = follows
        if ring.digest == self._digest:
            wanted = named(state)
            found = [
                {"fingerprint": f, "trouble": trouble, "expires": facts.expires_s, "named": f in wanted}
                for f, facts in self._facts.items()
                if (trouble := facts.trouble(now_s)) is not None
            ]
            out["expiring"] = sorted(found, key=lambda k: (not k["named"], k["expires"] or 0))[:_SHOWN]
        return out


def _parts(key: PublicKey) -> int:
    return len(key.to_bytes())
