# SPDX-License-Identifier: GPL-3.0-or-later
"""A fork: what one key offers for a repository that somebody else publishes, under a catalogue of its own (§12).

A fork's id and the key of its address in the DHT are digests of the repository's id and of the key that signs: who
knows both finds it, and no other fork can pass for it. Its repository has the objects of the one beside it, and packs
of what it offers alone. Synchronous.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import make_directory, replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, ObjectId, parse_fingerprint
from gtfs.pack.trees import MissingObject
from gtfs.repo.beyond import BASES, Beyond, base_lines, has_commit, look_beyond, read_bases
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import read_places
from gtfs.repo.repository import GitFailed, Repository, create_repository
from gtfs.state.config import Config
from gtfs.state.feedkey import FeedKey, address
from gtfs.state.initialise import Wanted, apply_wanted, check_wanted
from gtfs.state.state import State
from gtfs.trust.objects import BadSignedObject, split_signed_object
from gtfs.trust.refnames import BadRefName, check_ref_name

BRANCHES: Final = b"refs/heads/"
COMMITS: Final = 1000  # of one offer
OFFERS: Final = 64  # of one fork
_DAYS: Final = 180  # that an offer counts, if nobody renews it
_NAME: Final = "gtfs-fork 1"
_FEED: Final = "gtfs-fork-feed 1"
_OBJECT_BYTES: Final = 1 << 30


class NotOffered(GtfsError):
    """What cannot be offered as it is, and what to do."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class Upstream:
    """The repository that offers are for, as its held catalogue has it."""

    repository: Repository
    name: str  # its id
    refs: Mapping[bytes, ObjectId]
    head: bytes | None
    trackers: tuple[str, ...]


def read_upstream(repository: Repository) -> Upstream:
    """Of a mirror, a clone that git made of a feed, or the publisher's own; raises `NotOffered`, `DamagedStore`."""
    held = CatalogueStore(repository.layout.catalogue, read_only=True).highest()
    if held is None and Config(repository).sign_key() is not None:
        raise NotOffered(f"{repository.path} has published nothing yet: gtfs publish {repository.path}")
    if held is None:
        raise NotOffered(
            f"{repository.path} holds no catalogue, so that nobody knows what to offer it for; "
            "give a mirror, or a clone of a feed"
        )
    said = held.catalogue
    return Upstream(repository, said.repository, said.refs, said.head, said.trackers)


def fork_name(upstream: str, key: Fingerprint) -> str:
    """The id of the fork in which a key makes its offers for a repository."""
    return "fork-" + _digest(_NAME, upstream, key).hex()[:40]


def fork_feed_key(upstream: str, key: Fingerprint) -> FeedKey:
    """The key of its address. Anybody can work it out, so it says where to look and nothing else."""
    return FeedKey(_digest(_FEED, upstream, key))


def fork_address(upstream: str, key: Fingerprint) -> str:
    """The SOURCE where a fork is looked for, whoever told of it or not."""
    return address(fork_feed_key(upstream, key).public, fork_name(upstream, key))


def _digest(what: str, upstream: str, key: Fingerprint) -> bytes:
    return hashlib.sha256(f"{what}\n{upstream}\n{key}\n".encode()).digest()


def borrow_objects(fork: Repository, upstream: Repository) -> None:
    """Let a repository have all objects of another one, which is at hand. Raises OSError."""
    alternates = fork.objects / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    replace_file(alternates, os.fsencode(os.path.relpath(upstream.objects, fork.objects)) + b"\n", mode=0o644)


def fork_of(upstream: Upstream) -> Repository:
    """Where the offers made here lie, whether there are any or not."""
    return Repository(upstream.repository.layout.fork, upstream.repository.fmt)


def open_fork(upstream: Upstream, sign_key: str | None, gnupg_home: Path | None) -> Repository:
    """The fork of who offers here, made at the first time, when the key is tried.

    Raises `NotOffered`, and what `check_wanted` and `apply_wanted` do.
    """
    fork = fork_of(upstream)
    known = Config(fork).sign_key()
    if known is not None:
        if sign_key is not None and sign_key != known:
            raise NotOffered(f"{fork.path} has the offers of {known}; for those of another key, take another clone")
        return fork
    if sign_key is None:
        raise NotOffered("whose offer is it? Give --sign-key FINGERPRINT, which is needed once")
    key, name = parse_fingerprint(sign_key), fork_name(upstream.name, parse_fingerprint(sign_key))
    if not fork.path.exists():
        create_repository(fork.path, fork.fmt)
    borrow_objects(fork, upstream.repository)
    # Who offers anew what he has thought better of goes back.
    wanted = Wanted(
        name, key, gnupg_home=gnupg_home, valid_days=_DAYS, trackers=upstream.trackers,
        policy=("** catalogue non-fast-forward",),
    )  # fmt: skip
    check_wanted(fork, wanted)
    with State(fork) as state:
        state.config.set("upstream", upstream.name)
        make_directory(fork.layout.keys)
        seed = _digest(_FEED, upstream.name, key)
        replace_file(fork.layout.feed_key, seed.hex().encode() + b"\n", mode=0o600)
        apply_wanted(state, wanted)
    return fork


def bring(fork: Repository, source: Repository, revision: str) -> ObjectId:
    """The commit that ``revision`` means in ``source``, which the fork has then. Raises `NotOffered`, `GitFailed`."""
    found = source.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False).strip().decode()
    if not found:
        raise NotOffered(f"{revision} is no commit of {source.path}")
    tip = ObjectId(bytes.fromhex(found))
    if not has_commit(fork, tip):
        place = f"{found}:refs/gtfs/brought"
        source.git("push", "--quiet", "--force", str(fork.path), place, env={"GIT_ALLOW_PROTOCOL": "file"})
    return tip


def check_offer(fork: Repository, upstream: Upstream, tip: ObjectId) -> Beyond:
    """What an offer brings; raises `NotOffered` where the publisher could not take it."""
    beyond = look_beyond(fork, tip, list(upstream.refs.values()), COMMITS)
    if not beyond.commits:
        raise NotOffered(f"{upstream.name} has {tip.hex()} already")
    if len(beyond.commits) > COMMITS:
        raise NotOffered(
            f"over the limit of {COMMITS} commits for an offer; is it made on what {upstream.name} publishes?"
        )
    if beyond.has_root or not beyond.bases:
        raise NotOffered(f"it does not stand on what {upstream.name} publishes: it brings a first commit of its own")
    with CatFile(fork) as reader:
        for oid in beyond.commits:
            _check_signed(reader, oid)
    return beyond


def _check_signed(reader: CatFile, oid: ObjectId) -> None:
    try:
        signed = split_signed_object(reader.read(oid, _OBJECT_BYTES).data or b"")
    except (MissingObject, BadSignedObject) as error:
        raise NotOffered(f"{oid.hex()}: {error}") from None
    if signed.signature is None or signed.kind != "openpgp":
        raise NotOffered(
            f"{oid.hex()} has no OpenPGP signature, so nobody would take it: git commit --amend --no-edit -S, or "
            "git rebase -S on what is published"
        )


def branch_of(upstream: Upstream, source: Repository, revision: str, name: str | None) -> bytes:
    """The branch as which an offer is made: by default the one that is offered, else the publisher's first.

    Raises `NotOffered`.
    """
    if name is None:
        full = source.git("rev-parse", "--symbolic-full-name", "--verify", "--quiet", revision, check=False).strip()
        if full.startswith(BRANCHES):
            return full
        if upstream.head is None:
            raise NotOffered("give --to NAME, what the offer shall be called")
        return upstream.head
    ref = BRANCHES + os.fsencode(name.removeprefix("refs/heads/"))
    try:
        check_ref_name(ref)
    except BadRefName as error:
        raise NotOffered(f"--to {name!a}: {error.reason}") from None
    return ref


def put_offer(fork: Repository, ref: bytes, tip: ObjectId, beyond: Beyond) -> None:
    """Let the fork have it as ``ref``. Raises `NotOffered`, `GitFailed`."""
    offers = read_offers(fork)
    if ref not in offers and len(offers) >= OFFERS:
        raise NotOffered(f"{OFFERS} offers are made already: gtfs offer REPO --withdraw NAME takes one back")
    oid = tip.hex().encode()
    # Of its own: whoever prunes the repository beside it does not know of offers.
    wanted = b"".join(b"%s%s\n" % (b"^" * (base != tip), base.hex().encode()) for base in (tip, *beyond.bases))
    fork.git("pack-objects", "--revs", "--quiet", str(fork.objects / "pack" / "pack"), stdin=wanted)
    lines = [*base_lines(beyond.bases), b"update %s %s\n" % (ref, oid)]
    fork.git("update-ref", "--stdin", stdin=b"".join(lines))


def drop_taken(fork: Repository, upstream: Upstream) -> None:
    """Let the fork have what is offered still, and hold what that stands on, and nothing else. Raises `GitFailed`."""
    known, bases = list(upstream.refs.values()), set[ObjectId]()
    lines: list[bytes] = []
    for ref, tip in read_offers(fork).items():
        beyond = look_beyond(fork, tip, known, COMMITS)
        bases |= beyond.bases
        if not beyond.commits:
            lines.append(b"delete %s\n" % ref)
    lines += [b"delete %s%s\n" % (BASES, oid.hex().encode()) for oid in read_bases(fork) - bases]
    fork.git("update-ref", "--stdin", stdin=b"".join(lines))


def withdraw(fork: Repository, ref: bytes) -> None:
    """Take an offer back; raises `NotOffered`."""
    if ref not in read_offers(fork):
        raise NotOffered(f"nothing is offered as {ref.decode('utf-8', 'replace')}; gtfs offer REPO --list")
    fork.git("update-ref", "-d", os.fsdecode(ref))


def read_offers(fork: Repository) -> dict[bytes, ObjectId]:
    """The branches of a fork, and where they stand."""
    return {name: oid for name, oid in read_places(fork).items() if name.startswith(BRANCHES)}


def describe_offers(upstream: Upstream) -> dict[str, Any]:
    """What ``gtfs offer --list --json`` says."""
    fork = fork_of(upstream)
    key = Config(fork).sign_key() if fork.path.exists() else None
    held = CatalogueStore(fork.layout.catalogue, read_only=True).highest() if key is not None else None
    published = {} if held is None else held.catalogue.refs
    offers = [] if key is None else [_describe(fork, upstream, published, *item) for item in read_offers(fork).items()]
    return {
        "repository": upstream.name,
        "fork": None if key is None else str(fork.path),
        "key": key,
        "source": None if key is None else fork_address(upstream.name, key),
        "version": None if held is None else held.catalogue.version,
        "offers": offers,
    }


def _describe(
    fork: Repository, upstream: Upstream, published: Mapping[bytes, ObjectId], ref: bytes, tip: ObjectId
) -> dict[str, Any]:
    try:
        beyond = len(look_beyond(fork, tip, list(upstream.refs.values()), COMMITS).commits)
    except GitFailed:
        beyond = 0
    stage = "taken" if not beyond else "offered" if published.get(ref) == tip else "unpublished"
    return {"ref": ref.decode("utf-8", "replace"), "tip": tip.hex(), "commits": beyond, "stage": stage}
