# SPDX-License-Identifier: GPL-3.0-or-later
"""Out: refs of the repository into reels and the next signed catalogue (design.md §4, §5).

Order: encode, seal, merge what the held catalogue lists already: that is the draft, which is signed by whoever asked
for it, as long as that takes; then catalogue, index, and only then is the open reel emptied. A crash between, or a
draft that nobody signs, leaves sealed reels that the next publish lists, and merged ones that it makes again. What is
done is in proportion to what is new. Synchronous, under the node's lock, but for the signing.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from gtfs.catalogue.accept import Held
from gtfs.catalogue.cosign import Role
from gtfs.catalogue.document import Catalogue, ReelEntry
from gtfs.catalogue.issue import IssueSettings, keep, next_catalogue, says_the_same, sign_together
from gtfs.counted import counted
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.faults import FaultCounts
from gtfs.ingest.foresight import LookedAt
from gtfs.ingest.refjudge import moves_back, refused_by_signatures
from gtfs.reel.index import ReelRow
from gtfs.repo.history import Ref, read_head
from gtfs.repo.work import UNWATCHED, Step, Work
from gtfs.state.acceptedfaults import accepted_faults
from gtfs.state.bell import make_bell
from gtfs.state.config import BadConfig
from gtfs.state.due import RENEW_LEFT, standing
from gtfs.state.feedkey import make_feed_key, read_feed_key
from gtfs.state.foresee import foresee, foresight_of
from gtfs.state.initialise import refuse_subkeys, say_who_is_missing
from gtfs.state.joining import check_caught_up
from gtfs.state.newtags import note_news
from gtfs.state.outstanding import is_by_itself, note_failure, settle
from gtfs.state.pruning import Pruning, plan_pruning, prune_reels
from gtfs.state.sealing import needs_of, seal, take_back, wanted_packs
from gtfs.state.selection import describe_left_out, unreached_head
from gtfs.state.signers import needed_roles, renew_keys
from gtfs.state.state import State
from gtfs.state.takecatalogue import say_what_differs
from gtfs.state.turnover import compact
from gtfs.state.unpublishable import Unpublishable, check_fits, hold_back, why_broken
from gtfs.state.withdrawal import withdraw
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.stanza import write_time

log = logging.getLogger(__name__)

_DAY_S = 24 * 3600
_NAMED = 10  # refs that warnings name


@dataclass(frozen=True)
class Published:
    """The held catalogue after a publish; ``is_new`` False when nothing had changed; ``packs`` are those it lists.

    ``held_back``: the refs whose commits cannot be published, and why; they stay where the catalogue before had them.
    ``held_back_at``: where these stood then, as `due.published_refs` says it.
    ``left_out``: what `selection.describe_left_out` says of the refs that were not chosen.
    ``faults``: what the newly sealed packs have, and mirrors carry.
    """

    version: int
    is_new: bool
    reels: tuple[ReelEntry, ...]
    packs: int
    held_back: dict[bytes, str] = field(default_factory=dict)
    held_back_at: Mapping[bytes, ObjectId] = field(default_factory=dict)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    faults: FaultCounts = field(default_factory=FaultCounts)
    new_packs: int = 0
    new_bytes: int = 0
    refs_moved: int = 0  # made and gone, too
    withdrawn: int = 0  # packs that were listed and are not any more
    kept_refs: Sequence[bytes] = ()  # for which mirrors keep some of these all the same


@dataclass(frozen=True)
class Draft:
    """A catalogue that only lacks its signatures: those that are ``needed``, by the key ``signer`` if that will do.

    In ``gnupg_home`` (None: the signing user's). ``done`` is what will have been published.
    """

    catalogue: Catalogue
    needed: Sequence[Role]
    signer: Fingerprint
    gnupg_home: Path | None
    done: Published

    def sign(self, *, asks: bool = True) -> bytes:
        """The signed document, by the GnuPG of whoever calls; raises `SigningFailed`, `TooFewKeys`."""
        return sign_together(self.catalogue.to_text(), self.needed, self.signer, self.gnupg_home, asks=asks)


class Overtaken(GtfsError):
    """Another publish came first: a draft is the next version no more."""

    fault = Blame.BUSY

    def __init__(self) -> None:
        super().__init__("another publish came first; publish again")


@dataclass(frozen=True)
class _Choice:
    """What is published of the refs: ``refs`` as they are, ``stay`` as the held catalogue has them.

    ``packs``: those that they reach, in none of a catalogue's reels, where that is known without a walk.
    """

    refs: list[Ref]
    stay: dict[bytes, ObjectId]
    branch: bytes | None  # that HEAD names
    held_back: dict[bytes, str]
    held_back_at: Mapping[bytes, ObjectId]
    left_out: list[dict[str, Any]]
    looked_at: LookedAt
    packs: Sequence[ObjectId] | None


def publish_now(
    state: State, work: Work = UNWATCHED, *, force: bool = False, asks: bool = True, prune: bool = False
) -> Published:
    """Publish what the refs say now; what cannot be published keeps only the refs back that reach it.

    What fails is noted as outstanding where the repository publishes by itself. ``asks``: whether gpg may ask for a
    passphrase. Raises `Unpublishable`, `UnlistedFaults`, `Unacceptable`, `BadConfig`, `SigningFailed`, OSError.
    """
    try:
        drawn = draft(state, work, force=force, prune=prune)
        return drawn if isinstance(drawn, Published) else place(state, drawn, drawn.sign(asks=asks))
    except (GtfsError, OSError) as error:
        if is_by_itself(state.config) and not work.stop():
            note_failure(state.layout, error)
        raise


def draft(
    state: State, work: Work = UNWATCHED, *, force: bool = False, in_chunks: bool = True, prune: bool = False
) -> Draft | Published:
    """All of a publish up to the signature; what was published already where nothing has changed.

    ``in_chunks``: whether its refs may be. ``prune``: what no published ref reaches is left out. Raises what
    `publish_now` does but `SigningFailed`.
    """
    key, name = check_publisher(state)
    state.finish_hold()
    renew_keys(state)
    check_caught_up(state)
    choice = _choose(state, work, in_chunks)
    wanted = wanted_packs(state, choice.refs) if choice.packs is None else dict.fromkeys(choice.packs)
    accepted_ids = accepted_faults(state.repository)
    if take_back(state, wanted):  # what cannot be encoded again holds back refs
        choice = _choose(state, work, in_chunks)
        wanted = wanted_packs(state, choice.refs)
    faults = _foresee(state, wanted, accepted_ids, choice.looked_at, work)
    work.tell(Step(phase="sealing"))
    seal(state, wanted)
    fresh = unlisted(state)
    settings = _settings(state, name, accepted_ids)
    if not in_chunks:
        settings = dataclasses.replace(settings, in_chunks_above=None)
    now_s = int(time.time())
    catalogue = _next(state, choice, fresh, settings, now_s)
    held = state.held
    pruning = plan_pruning(state, catalogue.refs, fresh) if prune else None
    if held is not None and not fresh and not force and not pruning and _is_good(held, catalogue, now_s):
        if not state.index.refs.are_of(held.digest):  # what held it did not come to its end
            state.index.refs.set_held(held.catalogue.refs, held.digest)
        settle(state.layout)
        if prune:
            withdraw(state, unpublished=True)
        return _published(held.catalogue, False, choice, faults)
    work.tell(Step(phase="signing"))
    catalogue = _list_reels(state, catalogue, fresh, pruning)
    before = {} if held is None else held.catalogue.refs
    moved = moved_names(before, catalogue.refs)
    _say_what_may_surprise(state, catalogue, {n: catalogue.refs[n] for n in moved if n in catalogue.refs}, now_s)
    done = dataclasses.replace(
        _published(catalogue, True, choice, faults),
        new_packs=sum(reel.rows for reel in fresh), new_bytes=sum(reel.size for reel in fresh),
        refs_moved=len(moved),
        withdrawn=pruning.packs if pruning else 0,
        kept_refs=pruning.kept_refs if pruning else (),
    )  # fmt: skip
    return Draft(catalogue, needed_roles(state), key, state.config.gnupg_home(), done)


def check_publisher(state: State) -> tuple[Fingerprint, str]:
    """The key and the repository's id of one that can publish; raises `BadConfig`, `Unpublishable`."""
    key, name, path = state.config.sign_key(), state.config.get("name"), state.repository.path
    sources = state.config.get_all("source")
    if key is None and sources:
        raise BadConfig(
            f"{path} is no publisher's but follows {sources[0]}: publish there; if its catalogue names a key of yours, "
            f"gtfs init {path} --sign-key FINGERPRINT lets you publish here"
        )
    if key is None or name is None:
        raise BadConfig(f"{path} is no publisher's; run: gtfs init {path} --sign-key FINGERPRINT")
    if state.repository.is_shallow():
        raise Unpublishable(f"{path} is a shallow clone; run: git -C {path} fetch --unshallow")
    return key, name


def _choose(state: State, work: Work, in_chunks: bool) -> _Choice:
    """Encode what the chosen refs reach, and leave those behind that reach what cannot be."""
    held, selection = state.held, state.refs()
    check_fits(state.repository, selection.chosen, in_chunks=in_chunks and state.config.in_chunks_above() is not None)
    taken = state.take_up(work, refs=selection.chosen, foresight=foresight_of(state))
    _go_on(work)
    held_back = hold_back(state, selection.chosen) | why_broken(selection, held)
    refs = [ref for ref in selection.chosen if ref.name not in held_back]
    if held_back and not refs:
        raise Unpublishable(f"nothing can be published: {next(iter(held_back.values()))}")
    stood = standing(selection, state.repository.fmt)
    held_back_at = {name: stood[name] for name in held_back}
    stay = {} if held is None else {n: oid for n, oid in held.catalogue.refs.items() if n in held_back}
    branch = read_head(state.repository)
    head = unreached_head(state.repository, branch, refs)
    left_out = describe_left_out([*selection.left_out, *([head] if head else [])], held)
    # Nothing is held back, and there are no packs but those that were just found from these refs.
    are_all = taken.saw_all and held is None and not held_back and state.index.packs.count() == len(taken.made)
    packs = taken.made if are_all and not state.config.is_fork() else None
    return _Choice(refs, stay, branch, held_back, held_back_at, left_out, taken.looked_at, packs)


def _go_on(work: Work) -> None:
    if work.stop():
        raise Unpublishable("interrupted; what was encoded is kept, run gtfs publish again")


def _foresee(
    state: State, wanted: dict[ObjectId, None], accepted_ids: tuple[ObjectId, ...], looked_at: LookedAt, work: Work
) -> FaultCounts:
    """Before anything is sealed: a reel that mirrors refuse cannot be taken back."""
    work.tell(Step(phase="checking"))
    faults = foresee(state, wanted, accepted_ids, work, looked_at)
    _go_on(work)
    return faults


def unlisted(state: State) -> list[ReelRow]:
    """The reels sealed now, or by a publish that did not come to its end."""
    reels = state.index.reels
    # In a merged one nothing lies before it is listed.
    return [r for r in reels.all() if not r.version and r.stage == "complete" and reels.holds(r.id)]


def _settings(state: State, name: str, accepted_ids: tuple[ObjectId, ...]) -> IssueSettings:
    config, feed_key = state.config, read_feed_key(state.repository.layout.feed_key)
    signers, threshold = config.signers()
    return IssueSettings(
        repository=name, signers=signers, threshold=threshold, freshness=tuple(config.freshness_keys()),
        valid_s=config.valid_days() * _DAY_S, object_format=state.repository.fmt,
        feed_key=None if feed_key is None else feed_key.public.hex(),
        trackers=tuple(config.get_all("tracker")), web_seeds=tuple(config.get_all("webseed")),
        push_url=config.get("pushurl"),
        policy=tuple(config.policies()), accepted_faults=accepted_ids, in_chunks_above=config.in_chunks_above(),
    )  # fmt: skip


def _next(state: State, choice: _Choice, fresh: Sequence[ReelRow], settings: IssueSettings, now_s: int) -> Catalogue:
    """The catalogue after the held one, without its reels."""
    named = {**choice.stay, **dict(map(itemgetter(0, 1), choice.refs))}
    needs = needs_of(state, state.held, fresh)
    state.look_who_vouches()
    new = next_catalogue(state.held, named, (), settings, now_s, head=choice.branch, needs=needs, races=state.races)
    _, bell = make_bell(make_feed_key(state.layout.bell_key), new.repository, new.version)
    return dataclasses.replace(new, bell=bell)


def _is_good(held: Held, new: Catalogue, now_s: int) -> bool:
    """Whether the held catalogue says what ``new`` would, and will do so for long enough."""
    if new.raced:
        return False  # it is wanted for what it follows
    same = dataclasses.replace(new, reels=held.catalogue.reels)
    left_s = held.catalogue.valid_until_s - now_s
    is_long = left_s > RENEW_LEFT * (new.valid_until_s - new.date_s)
    return says_the_same(held.catalogue, same) and is_long and not _is_ahead(held, now_s)


def _list_reels(state: State, new: Catalogue, fresh: Sequence[ReelRow], pruning: Pruning | None) -> Catalogue:
    """With the reels that the held catalogue lists, merged where they are many, and the fresh ones; or pruned."""
    if pruning:
        return prune_reels(state, new, pruning)
    kept = [] if state.held is None else compact(state.reel_files, state.held.catalogue)
    entries = tuple(ReelEntry(r.name, r.infohash, r.size, r.rows) for r in (*kept, *fresh))
    return dataclasses.replace(new, reels=entries)


def _say_what_may_surprise(state: State, new: Catalogue, moved: Mapping[bytes, ObjectId], now_s: int) -> None:
    """Before it is signed; ``moved`` are its refs that the held one has elsewhere, or not. Raises `SubkeyNamed`."""
    refuse_subkeys(state, new.policy, state.config.gnupg_home())
    _say_what_is_ahead(state, new, now_s)
    _say_what_goes_back(state, new, moved)
    _say_what_is_unsigned(state, new, moved)
    say_what_differs(new, state.races, state.catalogues.chunks)
    say_who_is_missing(new.policy, state.keyring)


def _say_what_is_ahead(state: State, new: Catalogue, now_s: int) -> None:
    held = state.held
    if held is not None and _is_ahead(held, now_s):
        log.warning(
            "catalogue %d is dated %s, and here it is %s: mirrors take it only when its date has come, and %d, which is"
            " signed now, at once; if it is this clock that is wrong, set it and publish again",
            held.catalogue.version, write_time(held.catalogue.date_s), write_time(now_s), new.version,
        )  # fmt: skip


def place(state: State, drawn: Draft, document: bytes) -> Published:
    """Make a signed draft the held catalogue, if it holds by the rules that mirrors apply.

    Raises `Overtaken`, `CatalogueRefused`, OSError.
    """
    held, catalogue = state.held, drawn.catalogue
    if catalogue.previous != (None if held is None else held.digest):
        raise Overtaken
    assert state.keyring is not None
    if state.config.get("announce") is not None:
        note_news(state.repository, held, catalogue)
    tree = None if held is None else held.catalogue.tree
    accepted = keep(state.catalogues, catalogue, document, state.keyring, int(time.time()), tree)
    state.hold(accepted, is_own=True)
    clear_up(state)
    return drawn.done


def clear_up(state: State) -> None:
    """What follows once the index has a new catalogue's refs; may be done again after a crash. Raises OSError."""
    withdraw(state)
    state.empty_open_reel()
    settle(state.layout)
    state.layout.proposal.unlink(missing_ok=True)  # it does not follow this one


def moved_names(before: Mapping[bytes, ObjectId], now: Mapping[bytes, ObjectId]) -> list[bytes]:
    """The refs that another catalogue moves, makes or drops, sorted."""
    return sorted({name for name, _ in before.items() ^ now.items()})


def _is_ahead(held: Held, now_s: int) -> bool:
    """Whether mirrors with this clock refuse the held catalogue, as its date has not come."""
    return held.catalogue.date_s > now_s + FUTURE_S


def _say_what_goes_back(state: State, new: Catalogue, moved: Mapping[bytes, ObjectId]) -> None:
    """Mirrors hold these refs back; the publisher hears it first."""
    back = [] if state.held is None else moves_back(state.repository, state.held.catalogue.refs, moved, new.policy)
    if back:
        one, many = "ref does not descend from where it stood", "refs do not descend from where they stood"
        log.warning(
            "%s, or moved as a tag, %s first: mirrors hold that back unless a policy line says non-fast-forward "
            "(gtfs init --policy)",
            counted(len(back), one, many), back[0].decode("utf-8", "replace"),
        )  # fmt: skip


def _say_what_is_unsigned(state: State, new: Catalogue, moved: Mapping[bytes, ObjectId]) -> None:
    """The same of refs whose policy asks for signatures that are not there."""
    before = {} if state.held is None else state.held.catalogue.refs
    refused = refused_by_signatures(state.repository, state.index, state.keyring, before, moved, new.policy)
    for name, reason in list(refused.items())[:_NAMED]:
        log.warning("mirrors with the keys of this node hold %s back: %s", name.decode("utf-8", "replace"), reason)
    if len(refused) > _NAMED:
        log.warning("and %s of the kind", counted(len(refused) - _NAMED, "more ref"))


def _published(catalogue: Catalogue, is_new: bool, choice: _Choice, faults: FaultCounts) -> Published:
    packs = sum(reel.rows for reel in catalogue.reels)
    return Published(
        catalogue.version, is_new, catalogue.reels, packs,
        held_back=choice.held_back, held_back_at=choice.held_back_at, left_out=choice.left_out, faults=faults,
    )  # fmt: skip
