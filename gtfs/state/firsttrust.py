# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a node believes before it holds a catalogue, and the keyring that is frozen for it (design.md §5, §10).

``keyring=`` says who may sign commits where no policy names anybody, ``signer=`` who may sign the first catalogue; a
keyring of one key says both. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from gtfs.catalogue.accept import Believed, FirstTrust
from gtfs.catalogue.statement import Statement
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.layout import Layout
from gtfs.pack.limits import key_of, option_of
from gtfs.state.trustgiven import Confirm, TrustGiven
from gtfs.trust.gnupghome import GnupgUnusable
from gtfs.trust.gpgv import Signature
from gtfs.trust.keyring import (
    Keyring,
    Keys,
    choose,
    freeze,
    open_keyring,
    read_keyrings,
    read_user_keys,
    refuse_subkey,
)
from gtfs.trust.publickey import PublicKey
from gtfs.trust.verify import unverified_signers


class NotFollowing(GtfsError):
    """This node holds no catalogue, or nothing that its keyring could check one with; the text says what to give."""

    fault = Blame.TRUST


class LimitTooLow(GtfsError):
    """The catalogue says that its packs need more than a limit of this node allows: said before they are fetched."""

    fault = Blame.TRUST

    def __init__(self, limit: str, allowed: int, needed: int, config: Path) -> None:
        super().__init__(
            f"the catalogue's packs need {limit} {needed} where this node allows {allowed}: nothing is fetched and no "
            f"ref moves until it is raised, with -o {option_of(limit)}={needed} or gtfs.{key_of(limit)} in {config}"
        )
        self.limit = limit


class Holder(Protocol):
    """Who has a frozen keyring: a node's state, or, until there is one, a `NewRing`."""

    layout: Layout
    keyring: Keyring | None

    @property
    def held(self) -> Believed[Statement] | None:
        """What is believed already."""

    def own_key(self) -> Fingerprint | None:
        """The key that signs here, which always stays in the ring."""

    def use_keyring(self, named_only: Collection[Fingerprint] | None = None) -> None:
        """See `State.use_keyring`."""


class NewRing:
    """The keyring of a mirror that is made only once its catalogue is believed."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.keyring: Keyring | None = None
        self.held: Believed[Statement] | None = None

    def own_key(self) -> Fingerprint | None:
        """See `Holder`."""
        return None

    def use_keyring(self, named_only: Collection[Fingerprint] | None = None) -> None:
        """See `Holder`."""
        self.keyring = open_keyring(self.layout.keyring).with_named_only(named_only or ())


def first_trust(state: Holder, given: TrustGiven, document: bytes | None) -> FirstTrust:
    """Freeze the keys that are given, and say whom to believe first. ``document``: the first catalogue, unverified.

    Raises `BadKeyring`, `SubkeyNamed`, `GnupgUnusable`, and `NotFollowing` where no key is known at all.
    """
    files = read_keyrings(given.keyrings)
    here = {**(state.keyring.keys if state.keyring is not None else {}), **files}
    for fingerprint in given.signers:
        refuse_subkey(fingerprint, here)
    if state.held is not None:
        if files:
            # What signs the catalogues stays, or the node would be cut off from its publisher.
            catalogue = state.held.catalogue
            _freeze(state, files, {}, (*catalogue.signers, *catalogue.freshness))
        return FirstTrust()
    more = _from_gnupg(given, document, here)
    if files or more:
        _freeze(state, files, more, given.signers)
    alone = frozenset(files) if len(files) == 1 else frozenset()
    allowed = frozenset(given.signers) or alone or None
    if given.threshold > max(1, len(given.signers)):
        raise NotFollowing(
            f"-o threshold={given.threshold} wants as many -o signer=FPR, and there are {len(given.signers)}"
        )
    return FirstTrust(allowed, _asker(state, given.confirm), given.repository, given.threshold)


def _from_gnupg(given: TrustGiven, document: bytes | None, here: Mapping[Fingerprint, PublicKey]) -> Keys:
    """The keys of signers who are in no keyring; without any keyring, those that the document claims."""
    lacking = [fingerprint for fingerprint in given.signers if fingerprint not in here]
    if lacking:
        return choose(lacking, read_user_keys(lacking, given.gnupg_home), "(of files, and of GnuPG)")
    if here or document is None:
        return {}
    claimed = [Fingerprint(s) for s in unverified_signers(document) if len(s) >= 40]
    try:
        found = read_user_keys(claimed, given.gnupg_home)
    except GnupgUnusable:
        if given.gnupg_home is not None:
            raise
        found = {}
    if not found:
        raise NotFollowing(
            f"the catalogue claims to be signed by {', '.join(claimed) or 'nobody'}, whose key is not here; "
            "give the publisher's key with -o keyring=FILE"
        )
    return found


def _freeze(state: Holder, files: Keys, more: Keys, stay: Collection[Fingerprint]) -> None:
    """Let the keyring be ``files`` (or, without any, what it was) with ``more`` and what has to stay.

    Who is not in the files may sign what names him, such as catalogues, and no commit beyond.
    """
    before, own = state.keyring, state.own_key()
    staying = {*stay, *([own] if own is not None else [])}
    if before is not None and not files:
        staying |= before.primaries
    ring = freeze({**more, **files}, state.layout.keyring, before=before, stay=staying, left=state.layout.left_keys)
    named_only: Collection[Fingerprint] = ()
    if files:
        named_only = ring.primaries - files.keys() - {own}
    elif before is not None:
        named_only = before.named_only | (more.keys() - before.primaries)
    state.use_keyring(named_only)


def _asker(state: Holder, confirm: Confirm | None) -> Callable[[Statement, tuple[Signature, ...]], bool]:
    """The question about the first catalogue, with the user ids that the keyring gives to its signers."""

    def ask(catalogue: Statement, signatures: tuple[Signature, ...]) -> bool:
        keys = {} if state.keyring is None else state.keyring.keys
        people = [(s.primary, keys[s.primary].user_ids if s.primary in keys else ()) for s in signatures]
        return confirm is not None and confirm(catalogue, people)

    return ask
