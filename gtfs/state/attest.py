# SPDX-License-Identifier: GPL-3.0-or-later
"""An attester's own statement: up to which refs of the catalogue that it follows it verified all (design.md §10).

A mirror says so beside its own sign-offs, for others whose policy asks for it. Synchronous, under the node's lock.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from gtfs.counted import counted
from gtfs.durable import make_directory, replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, ObjectId, PackDigest, parse_fingerprint
from gtfs.ingest.refmoves import verified_refs
from gtfs.pack.format import TAG
from gtfs.repo.repository import Repository
from gtfs.state.config import VALID_DAYS, BadConfig, Config
from gtfs.state.divergence import why_all_stay
from gtfs.state.state import State
from gtfs.trust.attestation import Attestation, AttestationRefused, read_attestation
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.nodekey import NodeKey, make_node_key, read_node_key
from gtfs.trust.sign import Signer
from gtfs.trust.verify import BadSignature, split_clearsigned

log = logging.getLogger(__name__)

_NODE_KEY: Final = "node"  # as the setting attestkey: the key of this node's own sign-offs
_DAY_S: Final = 24 * 3600
_RENEW_LEFT: Final = 0.5  # of the validity, as of a catalogue's


class NothingAttested(GtfsError):
    """There is nothing that this node could attest now."""

    fault = Blame.SOURCE


def try_attester_key(repository: Repository, sign_key: str | None, gnupg_home: Path | None) -> None:
    """Try a key of the GnuPG of whoever calls, before anything is changed; raises `BadId`, `SigningFailed`."""
    if sign_key is not None:
        home = gnupg_home or Config(repository).gnupg_home()
        Signer(parse_fingerprint(sign_key), home).detach_sign(b"gtfs init: can this key sign?\n")


def make_attester(state: State, sign_key: str | None, gnupg_home: Path | None, valid_days: int | None) -> Fingerprint:
    """Let a mirror attest from now on, by a key of the user's GnuPG, tried, or else its own; gives the key.

    Raises `BadConfig`, `BadId`, `SigningFailed`, OSError.
    """
    if valid_days is not None and valid_days > VALID_DAYS:
        raise BadConfig(f"--valid-days {valid_days}: not a number from 1 to {VALID_DAYS}")
    config, path = state.config, state.repository.path
    if config.sign_key() is not None:
        raise BadConfig(f"{path} is a publisher's, whose catalogue says already what it stands for")
    if state.held is None:
        raise BadConfig(f"{path} follows no catalogue yet: gtfs sync SOURCE --into {path}")
    key = make_node_key(state.layout.node_key) if sign_key is None else parse_fingerprint(sign_key)
    if sign_key is not None and gnupg_home is not None:
        config.set("gnupghome", str(gnupg_home.absolute()))
    config.set("attestkey", _NODE_KEY if sign_key is None else key)
    if valid_days is not None:
        config.set("validdays", str(valid_days))
    return key


def is_attester(state: State) -> bool:
    """Whether this node attests."""
    return state.config.get("attestkey") is not None and not state.read_only


class AttestationDraft(NamedTuple):
    """What is to be said anew, and who signs it: ``sign`` needs no turn to write, as it may wait for a passphrase."""

    said: Attestation
    signer: Signer | NodeKey

    def sign(self) -> tuple[bytes, bytes]:
        """The document, and the signer's public key; raises `SigningFailed`, `GnupgUnusable`."""
        return self.signer.clearsign(self.said.to_text()), self.signer.public_key()


def draw_attestation(state: State, *, force: bool = False, asks: bool = True) -> AttestationDraft | Attestation:
    """What this node verified, if that is more than it said, or the last word counts for less than half of its time.

    Else that word. Unless ``asks``, nobody is there to give a passphrase. Raises `NothingAttested`, `BadId`,
    `GitFailed`, OSError.
    """
    held, layout = state.held, state.layout
    why = why_all_stay(state)
    if held is None or why is not None:
        raise NothingAttested(f"nothing is attested: {why}")
    catalogue = held.catalogue
    refs = verified_refs(state.repository, state.index, catalogue.refs, state.demands())
    packs = _packs(state, refs)
    if not refs:
        raise NothingAttested("nothing is attested: no ref of the catalogue is verified here; run gtfs sync")
    now_s = int(time.time())
    before = _said_last(layout.attested, now_s)
    valid_s = state.config.valid_days() * _DAY_S
    if before is not None and now_s <= before.date_s:
        now_s = before.date_s + 1  # else nobody takes it for newer
    said = Attestation(catalogue.repository, catalogue.version, held.digest, now_s, now_s + valid_s, refs, packs)
    if before is not None and not force and before.valid_until_s - now_s > _RENEW_LEFT * valid_s:
        same = dataclasses.replace(said, date_s=before.date_s, valid_until_s=before.valid_until_s)
        if same == before:
            return before
    return AttestationDraft(said, _signer(state, asks=asks))


def keep_attestation(state: State, said: Attestation, document: bytes, key: bytes) -> tuple[Attestation, bool]:
    """Give out what was signed, by this public key, unless another was meanwhile; what is said now, and if it is this.

    Raises OSError.
    """
    layout, now = state.layout, _said_last(state.layout.attested, int(time.time()))
    if now is not None and now.date_s >= said.date_s:
        return now, False
    make_directory(layout.attestation)
    replace_file(layout.attester_key, key)
    replace_file(layout.attested, document)
    expected = state.expected()
    if expected is not None and expected.allowed:
        try:
            state.attestations.take(document, expected)
        except AttestationRefused as error:
            log.info("this node's own attestation counts for nothing here: %s", error.reason)
    log.info("attested %s of version %d of %s", counted(len(said.refs), "ref"), said.version, said.repository)
    return said, True


def attest(state: State, *, force: bool = False, asks: bool = True) -> tuple[Attestation, bool]:
    """The three together, for who keeps nobody waiting; True if it was said anew. Raises what they do."""
    drawn = draw_attestation(state, force=force, asks=asks)
    return (drawn, False) if isinstance(drawn, Attestation) else keep_attestation(state, drawn.said, *drawn.sign())


def attest_if_due(state: State) -> None:
    """The same where it is this node's business; what hinders is only said."""
    if is_attester(state):
        try:
            attest(state, asks=False)  # others wait for their turn to write
        except NothingAttested as error:
            log.info("%s", error)
        except (GtfsError, OSError) as error:
            log.warning("this node attests nothing new: %s", error)


def describe_attested(state: State, said: Attestation, is_new: bool) -> dict[str, Any]:
    """What `gtfs publish` shows of an attester."""
    latest = state.layout.attested
    return {
        "repository": said.repository,
        "version": said.version,
        "new": is_new,
        "refs": len(said.refs),
        "packs": len(said.packs),
        "valid_until": said.valid_until_s,
        "sources": [str(latest), latest.as_uri()],
    }


def _packs(state: State, refs: dict[bytes, ObjectId]) -> dict[ObjectId, PackDigest]:
    """The packs of what refs name, and of what their tags name in the end; without a pack, a ref is left out."""
    packs: dict[ObjectId, PackDigest] = {}
    for name, oid in list(refs.items()):
        chain: dict[ObjectId, PackDigest] = {}
        left = [oid]
        while left:
            row = state.index.packs.get(left.pop())
            if row is None or row.stage != "unpacked" or row.digest is None:
                del refs[name]
                break
            chain[row.oid] = row.digest
            left = state.index.history.parents_of(row.oid)[:1] if row.kind == TAG else []
        else:
            packs |= chain
    return packs


def _said_last(path: Path, now_s: int) -> Attestation | None:
    """This node's last word; None where there is none that can be read, or that anybody takes by the clock of now."""
    try:
        said = read_attestation(split_clearsigned(path.read_bytes())[0])
    except (OSError, BadSignature, AttestationRefused):
        return None
    return said if said.date_s <= now_s + FUTURE_S else None


def _signer(state: State, *, asks: bool) -> Signer | NodeKey:
    key = state.config.get("attestkey")
    if key is None or key == _NODE_KEY:
        make_node_key(state.layout.node_key)
        return read_node_key(state.layout.node_key)
    return Signer(parse_fingerprint(key), state.config.gnupg_home(), asks=asks)
