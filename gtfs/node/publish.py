# SPDX-License-Identifier: GPL-3.0-or-later
"""Out: refs of the repository into reels and the next signed catalogue (design.md §4, §5).

Order: encode, seal, merge what the held catalogue lists already, catalogue, index, and only then is the open reel
emptied. A crash between leaves sealed reels that the next publish lists, and merged ones that it makes again. What is
done is in proportion to what is new. Synchronous, under the node's lock.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from gtfs.catalogue.document import Catalogue, ReelEntry
from gtfs.catalogue.publish import PublishSettings, next_catalogue, publish, says_the_same
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId, parse_fingerprint
from gtfs.ingest.faults import FaultCounts
from gtfs.node.acceptedfaults import accepted_faults
from gtfs.node.config import BadConfig
from gtfs.node.foresee import foresee
from gtfs.node.pointing import feed_key_path
from gtfs.node.state import State
from gtfs.node.succession import compact
from gtfs.reel.index import PackRow, ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.order import canonical_order, cut
from gtfs.reel.seal import Source, write_reel
from gtfs.repo.history import OWN_REFS, Ref, commits_reachable, read_head, read_refs, tags_reachable
from gtfs.repo.repository import Repository
from gtfs.swarm.pointers import read_feed_key
from gtfs.trust.keyring import export_user_keys
from gtfs.trust.sign import Signer

log = logging.getLogger(__name__)

_DAY_S = 24 * 3600
_RENEW_LEFT = 0.5  # of the validity: a catalogue with less left is signed anew though nothing else changed


class Unpublishable(GtfsError):
    """The repository cannot be published as it is; the text says what to do."""

    exit_code = 3


@dataclass(frozen=True)
class Published:
    """The held catalogue after a publish; ``is_new`` False when nothing had changed; ``packs`` are those it lists.

    ``faults``: what the newly sealed packs have, and mirrors carry.
    """

    version: int
    is_new: bool
    reels: tuple[ReelEntry, ...]
    packs: int
    faults: FaultCounts = field(default_factory=FaultCounts)


def initialise(state: State, name: str | None, fingerprint: str, gnupg_home: str | None) -> str:
    """Make the node a publisher's: its repository id and signing key, checked to be usable; gives the id.

    Raises `BadConfig`, `BadKeyring`, `SigningFailed`, `BadId`.
    """
    config = state.config
    if state.held is not None and config.sign_key() is None:
        raise BadConfig(f"{state.repository.path} follows the catalogue of {state.held.catalogue.repository}")
    known = config.get("name")
    if known is not None and name is not None and known != name:
        raise BadConfig(f"{state.repository.path} is named {known} already; mirrors know it by that name")
    repository_id = name or known or _first_root(state.repository)
    key = parse_fingerprint(fingerprint)
    home = config.gnupg_home() if gnupg_home is None else Path(gnupg_home)
    # Tried before anything is changed: a publisher keeps the key that works.
    Signer(key, home).detach_sign(b"gtfs init: can this key sign?\n")
    export_user_keys([key], state.keyring_path, home)
    state.load_keyring()
    if gnupg_home is not None:
        config.set("gnupghome", gnupg_home)
    config.set("signkey", key)
    config.set("name", repository_id)
    return repository_id


def _first_root(repository: Repository) -> str:
    roots = repository.git("rev-list", "--max-parents=0", "HEAD", check=False).split()
    if not roots:
        raise Unpublishable("the repository has no commit to be named after; give a name with --name")
    return roots[-1].decode()


def publish_now(
    state: State,
    *,
    force: bool = False,
    jobs: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    begin: Callable[[int], None] = lambda _n: None,
    progress: Callable[[int, int], None] = lambda _n, _b: None,
) -> Published:
    """Publish what the refs say now.

    Raises `Unpublishable`, `UnlistedFaults`, `Unacceptable`, `BadConfig`, `SigningFailed`, OSError.
    """
    repository, index, config = state.repository, state.index, state.config
    key = config.sign_key()
    name = config.get("name")
    if key is None or name is None:
        raise BadConfig(f"{repository.path} is no publisher's; run: gtfs init {repository.path} --sign-key FINGERPRINT")
    if repository.is_shallow():
        raise Unpublishable(f"{repository.path} is a shallow clone; run: git -C {repository.path} fetch --unshallow")
    refs = publishable_refs(repository)
    state.take_up(jobs=jobs, stop=stop, begin=begin, progress=progress)
    wanted, accepted_ids = _wanted(state, refs), accepted_faults(repository)
    # Before anything is sealed: a reel that mirrors refuse cannot be taken back.
    faults = FaultCounts() if stop() else foresee(state, wanted, accepted_ids, stop, begin, progress)
    if stop():
        raise Unpublishable("interrupted; what was encoded is kept, run gtfs publish again")
    seal(state, wanted)

    held = state.held
    # Sealed now, or by a publish that did not come to its end; in a merged one nothing lies before it is listed.
    fresh = [r for r in index.reels() if not r.version and r.state == "complete" and index.holds(r.id)]
    now_s = int(time.time())
    valid_s = int(config.get("validdays") or 30) * _DAY_S
    feed_key = read_feed_key(feed_key_path(repository.state))
    settings = PublishSettings(
        repository=name, signers=(key,), valid_s=valid_s, object_format=repository.fmt,
        feed_key=None if feed_key is None else feed_key.public.hex(),
        trackers=tuple(config.get_all("tracker")), web_seeds=tuple(config.get_all("webseed")),
        policy=tuple(config.policies()), accepted_faults=accepted_ids,
    )  # fmt: skip
    catalogue = next_catalogue(held, {r.name: r.oid for r in refs}, (), settings, now_s, head=read_head(repository))
    if held is not None and not fresh and not force:
        same = dataclasses.replace(catalogue, reels=held.catalogue.reels)
        if says_the_same(held.catalogue, same) and held.catalogue.valid_until_s - now_s > _RENEW_LEFT * valid_s:
            return _published(held.catalogue, False, faults)
    kept = [] if held is None else compact(state.stock, held.catalogue)
    entries = tuple(ReelEntry(r.name, r.infohash, r.size, r.rows) for r in (*kept, *fresh))
    catalogue = dataclasses.replace(catalogue, reels=entries)
    assert state.keyring is not None
    accepted = publish(state.catalogues, catalogue, Signer(key, config.gnupg_home()), state.keyring, now_s)
    with index.transaction():
        state.hold(accepted)
        index.set_held_refs(catalogue.refs)
    state.empty_open_reel()
    return _published(catalogue, True, faults)


def _published(catalogue: Catalogue, is_new: bool, faults: FaultCounts) -> Published:
    return Published(catalogue.version, is_new, catalogue.reels, sum(reel.rows for reel in catalogue.reels), faults)


def _wanted(state: State, refs: list[Ref]) -> dict[ObjectId, None]:
    """What the refs reach, as far as no listed reel has it. Raises `Unpublishable` for what has no pack."""
    listed = () if state.held is None else set(state.held.catalogue.refs.values())
    wanted = _reached(state, [ref for ref in refs if ref.oid not in listed], listed)
    if any(item.oid not in wanted for item in state.index.open_items()):
        # Not new and in no reel: it is reached by no ref, or a reel was lost.
        wanted = _reached(state, refs, ())
    _refuse_unmade(state, wanted)
    return wanted


def _reached(state: State, refs: list[Ref], listed: Collection[ObjectId]) -> dict[ObjectId, None]:
    if not refs:
        return {}
    wanted = dict.fromkeys(commits_reachable(state.repository, {ref.oid for ref in refs}, listed))
    wanted.update(dict.fromkeys(tags_reachable(state.repository, refs)))
    return wanted


def publishable_refs(repository: Repository) -> list[Ref]:
    """Every ref but the node's own; one that names a tree or blob directly has no pack and is left out with a word."""
    refs = []
    for ref in read_refs(repository):
        if ref.name.startswith(OWN_REFS):
            continue
        if ref.kind not in (b"commit", b"tag"):
            log.warning("%s names a %s and is not published", ref.name.decode("utf-8", "replace"), ref.kind.decode())
            continue
        refs.append(ref)
    return refs


def _refuse_unmade(state: State, wanted: dict[ObjectId, None]) -> None:
    unmade = state.index.unencodable()
    for oid in wanted:
        if oid in unmade:
            hint = "fetch what is missing"
            if state.repository.is_partial():
                hint = "this is a partial clone: git fetch --refetch --no-filter, then git repack -ad"
            raise Unpublishable(f"the pack of {oid.hex()} cannot be made: {unmade[oid]}; {hint}")


def seal(state: State, wanted: dict[ObjectId, None]) -> list[ReelRow]:
    """Seal the open reel's packs of ``wanted`` into reels, in canonical order, cut at 256 MiB."""
    index = state.index
    items = [item for item in index.open_items() if item.oid in wanted]
    sealed: list[ReelRow] = []
    rows: dict[ObjectId, PackRow] = {row.oid: row for row in index.open_rows()}
    for group in cut([rows[item.oid] for item in canonical_order(items)], lambda row: row.size):
        sources = [
            Source(r.oid, r.size, r.digest or b"", file_chunks(state.open_reel_path, r.offset or 0, r.size))  # type: ignore[arg-type]
            for r in group
        ]
        reel = write_reel(state.reels, sources, state.repository.fmt)
        with index.transaction():
            reel_id = index.put_reel(reel.name, reel.infohash, reel.size, reel.rows, 0, "complete")
            index.move_to_reel(reel_id, reel.places)
        row = index.reel(reel_id)
        assert row is not None
        sealed.append(row)
    return sealed
