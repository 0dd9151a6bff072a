# SPDX-License-Identifier: GPL-3.0-or-later
"""The next catalogue as a text for several to sign, each where his key is, and its publication (design.md §5).

The text that was proposed last is kept until it is published or another takes its place: what is completed is that and
no other, so a crash between loses nothing and both steps may be done again. Synchronous, under the node's lock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.catalogue.accept import Held
from gtfs.catalogue.cosign import Role, roles
from gtfs.catalogue.document import BadCatalogue, Catalogue, digest, from_text
from gtfs.catalogue.issue import says_the_same
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.ingest.refjudge import moves_back
from gtfs.repo.work import UNWATCHED, Work
from gtfs.state.pruning import plan_pruning, prune_reels
from gtfs.state.publish import Draft, Published, check_publisher, clear_up, draft, moved_names, place, unlisted
from gtfs.state.signers import renew_keys
from gtfs.state.state import State
from gtfs.state.turnover import compact
from gtfs.trust.keyring import Keyring
from gtfs.trust.stanza import write_time
from gtfs.trust.verify import DOCUMENT_BYTES, BadSignature, combine_clearsigned, read_clearsigned, split_clearsigned

_KEEP_LEFT: Final = 0.5  # of its validity: a proposal with less left is made anew though it would say the same


class BadProposal(GtfsError):
    """There is no proposal, or it cannot be published any more; the text says what to do."""

    fault = Blame.USAGE


class NotSignedEnough(GtfsError):
    """The signatures that were given are not those that the proposal needs."""

    fault = Blame.TRUST


@dataclass(frozen=True)
class Proposal:
    """The catalogue that waits for signatures, ``needed`` ones; ``done``: what will have been published.

    ``is_new`` False if it waited already and says the same; ``replaced``: signatures over the one before count no more.
    ``file`` has its text, ``before`` the document that it follows.
    """

    catalogue: Catalogue
    needed: Sequence[Role]
    done: Published
    file: Path
    before: Path | None
    is_new: bool = True
    replaced: bool = False


def propose(state: State, work: Work = UNWATCHED, *, force: bool = False, prune: bool = False) -> Proposal | Published:
    """Seal what would be published now, and keep the text of the catalogue that would say so; nothing moves.

    What was published already where nothing has changed. Raises what `draft` does, OSError.
    """
    # Each signer is to see the whole of what he signs.
    drawn = draft(state, work, force=force, in_chunks=False, prune=prune)
    if isinstance(drawn, Published):
        return drawn
    held, file, new, waiting = state.held, state.layout.proposal, drawn.catalogue, waiting_proposal(state)
    before = None if held is None else state.catalogues.directory / f"{held.catalogue.version}.asc"
    if waiting is not None and not force and _may_stay(waiting, new):
        return Proposal(waiting, drawn.needed, drawn.done, file, before, False)
    replace_file(file, new.to_text().encode("ascii"))
    is_other = waiting is not None and waiting.version == new.version
    return Proposal(new, drawn.needed, drawn.done, file, before, True, is_other)


def _may_stay(waiting: Catalogue, new: Catalogue) -> bool:
    """Whether the proposal that waits says all that a new one would: signatures over it may be on their way."""
    is_same = (waiting.version, waiting.follows) == (new.version, new.follows) and says_the_same(waiting, new)
    return is_same and waiting.valid_until_s - new.date_s > _KEEP_LEFT * (waiting.valid_until_s - waiting.date_s)


def waiting_proposal(state: State) -> Catalogue | None:
    """The catalogue that was proposed; None if there is none, or none that this version can read."""
    try:
        return from_text(state.layout.proposal.read_bytes())
    except (FileNotFoundError, BadCatalogue):
        return None


def complete(state: State, documents: Mapping[str, bytes]) -> Published:
    """Publish the proposal that waits with the signatures of these documents, by name of file; nothing is encoded.

    Raises `BadProposal`, `NotSignedEnough`, a `CatalogueRefused`, `BadConfig`, `BadKeyring`, OSError.
    """
    path = state.repository.path
    again = f"gtfs publish --propose {path}"
    state.finish_hold()
    try:
        text = state.layout.proposal.read_bytes()
        catalogue = from_text(text)
    except FileNotFoundError:
        raise BadProposal(f"{path} has no proposal that waits for signatures; run: {again}") from None
    except BadCatalogue as error:
        raise BadProposal(f"{state.layout.proposal} cannot be read ({error.reason}); run: {again}") from None
    held, done = state.held, _published(catalogue, state.held)
    if held is not None and held.digest == digest(text):
        state.index.refs.set_held(catalogue.refs)  # a crash came right after it was kept
        clear_up(state)
        return done
    why = _why_not(state, catalogue)
    if why is not None:
        raise BadProposal(
            f"the proposal of version {catalogue.version} cannot be published, {why}; propose again: {again}"
        )
    check_publisher(state)
    renew_keys(state)
    assert state.keyring is not None
    needed = roles(None if held is None else held.catalogue, catalogue.signers, catalogue.threshold)
    now_s = int(time.time())
    by = _signed_by(documents, text, catalogue, state.keyring, needed, now_s)
    lacking = [role for role in needed if role.lacks(by)]
    if lacking:
        raise NotSignedEnough(
            f"the proposal of version {catalogue.version} is signed by {', '.join(sorted(by)) or 'nobody'} and needs "
            f"{' and '.join(map(str, lacking))}: gtfs sign where another key is, and give all files together"
        )
    document = combine_clearsigned([documents[name] for name in dict.fromkeys(by.values())])
    own = state.config.sign_key()
    assert own is not None
    return place(state, Draft(catalogue, needed, own, None, done), document)


def _published(new: Catalogue, held: Held | None) -> Published:
    before = () if held is None else held.catalogue.reels
    packs = sum(reel.rows for reel in new.reels)
    return Published(
        new.version, True, new.reels, packs,
        new_packs=max(0, packs - sum(reel.rows for reel in before)),
        new_bytes=max(0, sum(reel.size for reel in new.reels) - sum(reel.size for reel in before)),
        refs_moved=len(moved_names({} if held is None else held.catalogue.refs, new.refs)),
    )  # fmt: skip


def _why_not(state: State, catalogue: Catalogue) -> str | None:
    """Why what was proposed cannot be published now; None if it can."""
    held = state.held
    # Not by its version: where others raced ahead, it is more than one above the held one.
    if catalogue.previous != (None if held is None else held.digest):
        return f"as version {0 if held is None else held.catalogue.version} has been published since"
    if catalogue.valid_until_s <= time.time():
        return f"as its time was over at {write_time(catalogue.valid_until_s)}"
    before = {} if held is None else held.catalogue.refs
    named = {name: oid for name, oid in catalogue.refs.items() if before.get(name) != oid}
    now = {ref.name: ref.oid for ref in state.refs().chosen}
    lost = [name for name in named if name not in now]
    lost += moves_back(state.repository, named, {name: now[name] for name in named if name in now}, ())
    if lost:
        return f"as {lost[0].decode('utf-8', 'replace')} has gone, or left what it names, since"
    # Those that the next start takes away, as nothing lies there, are made again.
    if catalogue.pruned == catalogue.version:
        prune_reels(state, catalogue, plan_pruning(state, catalogue.refs, unlisted(state)))
    elif held is not None:
        compact(state.reel_files, held.catalogue)
    here = {row.name for row in state.index.reels.all() if row.is_whole}
    here |= set() if held is None else {reel.name for reel in held.catalogue.reels}
    missing = [reel.name for reel in catalogue.reels if reel.name not in here]
    return f"as the reel {missing[0]} is not here any more" if missing else None


def _signed_by(
    documents: Mapping[str, bytes],
    text: bytes,
    catalogue: Catalogue,
    keyring: Keyring,
    needed: Sequence[Role],
    now_s: int,
) -> dict[Fingerprint, str]:
    """Whose good signatures over the very text that was proposed there are, and in which file first."""
    allowed = frozenset(key for role in needed for key in role.signers)
    by: dict[Fingerprint, str] = {}
    for name, document in documents.items():
        try:
            signed_text, _ = split_clearsigned(document)
            if signed_text != text:
                raise NotSignedEnough(
                    f"{name} signs another text than that of version {catalogue.version} which was proposed last, "
                    f"at {write_time(catalogue.date_s)}: sign that one"
                )
            signed = read_clearsigned(document, keyring, allowed, now_s=now_s)
        except BadSignature as error:
            raise NotSignedEnough(f"{name}: {error.reason}") from None
        if not signed.signatures:
            raise NotSignedEnough(f"{name} has no signature that counts: {'; '.join(map(str, signed.rejected))}")
        for signature in signed.signatures:
            by.setdefault(signature.primary, name)
    return by


def complete_with(state: State, files: Sequence[Path]) -> Published:
    """`complete` with what these files hold; raises `BadProposal` for one that cannot be such a document, OSError."""
    documents: dict[str, bytes] = {}
    for path in files:
        with open(path, "rb") as file:
            documents[str(path)] = file.read(DOCUMENT_BYTES + 1)
        if len(documents[str(path)]) > DOCUMENT_BYTES:
            raise BadProposal(f"{path} is over the limit document: more than {DOCUMENT_BYTES} bytes")
    return complete(state, documents)
