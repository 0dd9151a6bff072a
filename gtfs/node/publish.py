# SPDX-License-Identifier: GPL-3.0-or-later
"""Out: refs of the repository into reels and the next signed catalogue (design.md §4, §5).

Order: encode, seal, index, catalogue, and only then is the open reel emptied; a crash between leaves sealed reels
that the next publish lists. Synchronous, under the node's lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gtfs.catalogue.document import ReelEntry
from gtfs.catalogue.publish import PublishSettings, next_catalogue, publish, says_the_same
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId, parse_fingerprint
from gtfs.node.config import BadConfig
from gtfs.node.state import State
from gtfs.reel.index import PackRow, ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.order import canonical_order, cut
from gtfs.reel.seal import Source, write_reel
from gtfs.repo.history import OWN_REFS, Ref, commits_reachable, read_head, read_refs, tags_reachable
from gtfs.repo.repository import Repository
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
    """The held catalogue after a publish; ``is_new`` False when nothing had changed."""

    version: int
    is_new: bool
    reels: tuple[ReelRow, ...]
    packs: int


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
    """Publish what the refs say now. Raises `Unpublishable`, `BadConfig`, `SigningFailed`, OSError."""
    repository, index, config = state.repository, state.index, state.config
    key = config.sign_key()
    name = config.get("name")
    if key is None or name is None:
        raise BadConfig(f"{repository.path} is no publisher's; run: gtfs init {repository.path} --sign-key FINGERPRINT")
    if repository.is_shallow():
        raise Unpublishable(f"{repository.path} is a shallow clone; run: git -C {repository.path} fetch --unshallow")
    refs = publishable_refs(repository)
    state.take_up(jobs=jobs, stop=stop, begin=begin, progress=progress)
    if stop():
        raise Unpublishable("interrupted; what was encoded is kept, run gtfs publish again")
    wanted = dict.fromkeys(commits_reachable(repository, {r.oid for r in refs if r.kind in (b"commit", b"tag")}))
    wanted.update(dict.fromkeys(tags_reachable(repository, refs)))
    _refuse_unmade(state, wanted)
    seal(state, wanted)

    reels = [r for r in index.reels() if r.state == "complete"]
    now_s = int(time.time())
    valid_s = int(config.get("validdays") or 30) * _DAY_S
    settings = PublishSettings(
        repository=name, signers=(key,), valid_s=valid_s, object_format=repository.fmt,
        trackers=tuple(config.get_all("tracker")), web_seeds=tuple(config.get_all("webseed")),
        policy=tuple(config.policies()),
    )  # fmt: skip
    entries = [ReelEntry(r.name, r.infohash, r.size, r.rows) for r in reels]
    held = state.held
    head = read_head(repository)
    catalogue = next_catalogue(held, {r.name: r.oid for r in refs}, entries, settings, now_s, head=head)
    if held is not None and not force and says_the_same(held.catalogue, catalogue):
        left_s = held.catalogue.valid_until_s - now_s
        if left_s > _RENEW_LEFT * valid_s:
            return Published(held.catalogue.version, False, tuple(reels), len(wanted))
    assert state.keyring is not None
    accepted = publish(state.catalogues, catalogue, Signer(key, config.gnupg_home()), state.keyring, now_s)
    state.held = accepted
    state.renew_gate()
    with index.transaction():
        for reel in reels:
            index.put_reel(reel.name, reel.infohash, reel.size, reel.rows, catalogue.version, "complete")
        index.set_held_refs(catalogue.refs)
    state.empty_open_reel()
    return Published(catalogue.version, True, tuple(reels), len(wanted))


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
