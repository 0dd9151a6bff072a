# SPDX-License-Identifier: GPL-3.0-or-later
"""The publisher's side of offers: which fork's catalogue is believed, and which of its offers hold (design.md §12).

A fork is believed by the ring of the repository that it names, whatever it says itself, and lies in a repository of
its own that has the publisher's objects: what it brings is nowhere else before somebody fetches it. Nothing here moves
a ref of the publisher's. Synchronous.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.accept import Accepted, Equivocation, FirstTrust, Held, WrongRepository, accept
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import make_directory, replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.feed import Feed
from gtfs.ids import BadId, Fingerprint, ObjectId, parse_fingerprint
from gtfs.ingest.signers import Signers
from gtfs.repo.beyond import BASES, Beyond, base_lines, has_commit, look_beyond
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import OWN_REFS, read_places
from gtfs.repo.repository import GitFailed, Repository, create_repository, git_environment
from gtfs.repo.unpack import kept_marks, release
from gtfs.state.config import Config
from gtfs.state.fork import BRANCHES, COMMITS, OFFERS, Upstream, borrow_objects, fork_name, read_upstream
from gtfs.state.state import State
from gtfs.trust.keyring import Keyring, open_keyring
from gtfs.trust.policy import Policy, PolicyRefused, effective_policy

FORKS: Final = 64  # that are looked for, or kept
DOCUMENT_BYTES: Final = 256 << 10  # of a fork's catalogue
REELS_BYTES: Final = 256 << 20  # of all that a fork lists
PACKS: Final = 16 * COMMITS
_SIGNED_NOW: Final = "** every-commit strict-expiry"
_RING: Final = "inbox-ring"  # in the index: the digest of the ring by which packs were let in last
_SUBJECT: Final = 200  # characters
INBOX_REFS: Final = OWN_REFS + b"inbox/"  # where offers are fetched to: never in a catalogue


class NoInbox(GtfsError):
    """There is nothing to judge forks by, or nothing of this name."""

    fault = Blame.USAGE


class ForkRefused(GtfsError):
    """A fork of which nothing is fetched, and why."""

    fault = Blame.TRUST


@dataclass(frozen=True)
class Offer:
    """One branch of a fork. ``stage``: offered, taken (there is nothing new in it), missing or refused; ``reason``
    says why it is one of the last two.
    """

    ref: bytes
    tip: ObjectId
    stage: str
    reason: str | None
    commits: Sequence[dict[str, Any]] = ()


def check_size(document: bytes) -> None:
    """Raise `ForkRefused` for what is too large to be a fork's catalogue."""
    if len(document) > DOCUMENT_BYTES:
        raise ForkRefused(f"its catalogue is over the limit of {DOCUMENT_BYTES} bytes for a fork's")


class Inbox:
    """What a publisher, or who has its ring and its catalogue, knows of offers for a repository."""

    def __init__(self, repository: Repository) -> None:
        self.upstream: Upstream = read_upstream(repository)
        self.repository = repository
        self._config = Config(repository)
        self.limits = self._config.limits()
        held = CatalogueStore(repository.layout.catalogue, read_only=True).highest()
        self._policy: Sequence[Policy] = () if held is None else held.catalogue.policy
        if not repository.layout.keyring.exists():
            raise NoInbox(
                f"{repository.path} has no keyring, so nobody may offer: gtfs trust {repository.path} add FILE"
            )
        ring = open_keyring(repository.layout.keyring)
        by_name = {parse_fingerprint(text) for text in self._config.get_all("cataloguekey")}
        by_name |= {*self._config.freshness_keys(), *(held.catalogue.freshness if held else ())}
        self.ring: Keyring = ring.with_named_only(by_name)

    def fork(self, key: Fingerprint) -> Repository:
        """Where a fork lies, whether it is there or not."""
        return Repository(self.repository.layout.inbox_of(key), self.repository.fmt)

    def known(self) -> list[Fingerprint]:
        """Whose forks are here; what somebody else put there counts for none."""
        directory = self.repository.layout.inbox
        paths = sorted(directory.glob("*.git")) if directory.is_dir() else []
        return [key for path in paths if (key := _key_of_fork(path)) is not None]

    def user_id(self, key: Fingerprint) -> str | None:
        """Whose key it is, by the ring."""
        found = self.ring.keys.get(key)
        return next(iter(found.user_ids), None) if found is not None else None

    def judge(self, document: bytes) -> tuple[Fingerprint, Accepted]:
        """Whose fork a document is the catalogue of, and whether it may be looked at; nothing is written.

        Raises `ForkRefused`, `CatalogueRefused`, `BadCatalogue`.
        """
        check_size(document)
        first, now_s = FirstTrust(allowed=self.ring.everybody), int(time.time())
        accepted = accept(document, None, self.ring, first, now_s)
        key = self._key_of(accepted)
        held = self.held(key)
        if held is not None:
            known = CatalogueStore(self.fork(key).layout.catalogue, read_only=True).known_digest
            accepted = accept(document, held, self.ring, first, now_s, known_digest=known)
        elif len(self.known()) >= FORKS:
            raise ForkRefused(f"there are {FORKS} forks in the inbox: gtfs inbox REPO --remove FINGERPRINT")
        self._check_bounds(accepted, now_s)
        return key, accepted

    def keep_evidence(self, found: Equivocation) -> Fingerprint:
        """Keep the other text of a version in the fork whose it is by its signature, and give that fork's key.

        Where one's fork is looked for anybody may put another's. Raises OSError.
        """
        accepted = accept(found.other, None, self.ring, FirstTrust(allowed=self.ring.everybody), int(time.time()))
        key = self._key_of(accepted)
        CatalogueStore(self.fork(key).layout.catalogue).save_equivocation(found)
        return key

    def held(self, key: Fingerprint) -> Held | None:
        """The catalogue of a fork that was believed last."""
        fork = self.fork(key)
        return CatalogueStore(fork.layout.catalogue, read_only=True).highest() if fork.path.exists() else None

    def _key_of(self, accepted: Accepted) -> Fingerprint:
        said = accepted.catalogue
        if len(said.signers) != 1 or said.threshold != 1:
            raise ForkRefused("a fork is one key's, and its catalogue names several signers")
        key = said.signers[0]
        if key not in self.ring.everybody:
            raise ForkRefused(f"its key {key} may sign no commit here")
        if said.repository != fork_name(self.upstream.name, key):
            raise WrongRepository(f"it is of {said.repository[:80]}, and offers nothing for {self.upstream.name}")
        return key

    def _check_bounds(self, accepted: Accepted, now_s: int) -> None:
        said = accepted.catalogue
        if said.object_format is not self.repository.fmt:
            raise ForkRefused(f"it is of the object format {said.object_format.name}, not {self.repository.fmt.name}")
        if said.valid_until_s < now_s:
            raise ForkRefused("its catalogue is past its time; who offers has to run gtfs offer again")
        if said.accepted_faults:
            raise ForkRefused("it wants faults to be accepted; only the publisher's own catalogue can do that")
        strange = [ref for ref in said.refs if not ref.startswith(BRANCHES)]
        if strange:
            raise ForkRefused(f"it offers {strange[0].decode('utf-8', 'replace')}, which is no branch")
        if len(said.refs) > OFFERS:
            raise ForkRefused(f"it makes {len(said.refs)} offers, where {OFFERS} are allowed")
        size, rows = sum(reel.size for reel in said.reels), sum(reel.rows for reel in said.reels)
        if size > REELS_BYTES or said.unusable:
            raise ForkRefused(f"its reels have {size} bytes, where {REELS_BYTES} are allowed")
        if rows > PACKS:
            raise ForkRefused(f"its reels have {rows} packs, where {PACKS} are allowed")
        beyond = said.needs.beyond(self.limits)
        if beyond is not None:
            raise ForkRefused("it needs {} {} where {} is allowed here".format(*beyond))

    def make(self, key: Fingerprint) -> Repository:
        """The repository for a fork that is believed. Raises `BadRepository`, OSError."""
        fork = self.fork(key)
        if not fork.path.exists():
            make_directory(self.repository.layout.inbox)
            create_repository(fork.path, fork.fmt)
        borrow_objects(fork, self.repository)
        return fork

    def prepare(self, state: State, feed: Feed | None) -> None:
        """Let a fork's state judge by this repository's ring of now. Raises OSError."""
        config = state.config
        for name, value in (("clone", "true"), ("upstream", self.upstream.name), ("policy", _SIGNED_NOW)):
            if config.get_all(name) != [value]:
                config.set(name, value)
        if feed is not None and feed.text not in config.get_all("source"):
            config.set("source", *config.get_all("source"), feed.text)
        replace_file(state.layout.keyring, self.ring.path.read_bytes())
        state.use_keyring(self.ring.named_only)
        if state.index.meta.get(_RING) != self.ring.digest.hex():  # what was refused by another may be good
            refused = state.index.packs.with_stage("refused", limit=PACKS)
            with state.index.transaction():
                state.index.packs.set_stage([row.oid for row in refused], "remote")
                state.index.meta.set(_RING, self.ring.digest.hex())

    def sources(self, key: Fingerprint) -> list[str]:
        """Where a fork was told to be."""
        return Config(self.fork(key)).get_all("source")

    def why_not(self, state: State, key: Fingerprint) -> str | None:
        """Why nothing of a fork counts whose catalogue was believed once."""
        held = state.held
        assert held is not None
        if key not in self.ring.everybody:
            return f"its key {key} may sign no commit here"
        if state.catalogues.is_disputed(held):
            return f"two different catalogues of version {held.catalogue.version} were signed; ask who offers"
        if held.catalogue.valid_until_s < time.time():
            return "its catalogue is past its time; who offers has to run gtfs offer again"
        return state.fallen

    def look(self, state: State, why_not: str | None) -> list[Offer]:
        """What a fork offers, each judged by the ring and the policy of now; those that hold become its branches.

        ``why_not``: why none of it counts.
        """
        held = state.held
        assert held is not None
        if why_not is not None:
            refused = [Offer(ref, tip, "refused", why_not) for ref, tip in sorted(held.catalogue.refs.items())]
            self._show(state.repository, refused, ())
            return refused
        ours = self._ours()
        with CatFile(state.repository) as reader:
            signers = Signers(state.index, reader, self.ring)
            found = [self._judge(state, signers, ours, ref, tip) for ref, tip in sorted(held.catalogue.refs.items())]
            signers.keep()
        self._show(state.repository, [offer for offer, _ in found], [b for _, b in found if b is not None])
        release(kept_marks(state.repository))
        return [offer for offer, _ in found]

    def _ours(self) -> list[ObjectId]:
        """What is published, and what stands in branches and tags here already."""
        here = [oid for name, oid in read_places(self.repository).items() if not name.startswith(OWN_REFS)]
        return list(dict.fromkeys([*self.upstream.refs.values(), *here]))

    def _judge(
        self, state: State, signers: Signers, ours: Sequence[ObjectId], ref: bytes, tip: ObjectId
    ) -> tuple[Offer, Beyond | None]:
        if not has_commit(state.repository, tip):
            return self._lacking(state, ref, tip), None
        beyond = look_beyond(state.repository, tip, ours, COMMITS)
        if not beyond.commits:
            return Offer(ref, tip, "taken", None), beyond
        if len(beyond.commits) > COMMITS:
            return Offer(ref, tip, "refused", f"it brings more than {COMMITS} commits"), None
        if beyond.has_root or not beyond.bases:
            why = "it does not stand on what is published: it brings a first commit of its own"
            return Offer(ref, tip, "refused", why), None
        allowed = self._allowed(ref)
        signers.find(beyond.commits, "commit")
        rows = state.index.packs.get_many(beyond.commits)
        commits = []
        for oid in beyond.commits:
            row = rows.get(oid)
            if row is None or row.stage != "unpacked":
                if row is not None and row.stage == "refused":
                    return Offer(ref, tip, "refused", f"{oid.hex()}: {row.reason}"), None
                return Offer(ref, tip, "missing", f"the pack of {oid.hex()} has not come"), None
            try:
                signer = signers.signer(oid, "commit", "now")
            except PolicyRefused as error:
                return Offer(ref, tip, "refused", f"{oid.hex()}: {error.reason}"), None
            if signer not in allowed:
                why = (
                    f"{oid.hex()} is signed by {signer}, whom the policy of {ref.decode('utf-8', 'replace')} leaves out"
                )
                return Offer(ref, tip, "refused", why), None
            commits.append({"oid": oid.hex(), "signer": signer, **_words(signers.raw(oid))})
        return Offer(ref, tip, "offered", None, commits), beyond

    def _allowed(self, ref: bytes) -> frozenset[Fingerprint]:
        """Who may sign commits in a branch; `tag` and `catalogue` leave that to who merges, of those in the ring."""
        policy = effective_policy(ref, self._config.policies(), self._policy, has_keyring=True)
        part = policy.part("every-commit") or policy.part("path")
        return self.ring.everybody if part is None or part.signers is None else part.signers

    @staticmethod
    def _lacking(state: State, ref: bytes, tip: ObjectId) -> Offer:
        """One whose commit is not here: it was refused, or what it stands on, or nothing of it came."""
        row = state.index.packs.get(tip)
        if row is not None and row.stage == "waiting":
            row = next(iter(state.index.packs.with_stage("refused", limit=1)), None)
        if row is not None and row.stage == "refused":
            return Offer(ref, tip, "refused", f"the pack of {row.oid.hex()} is refused: {row.reason}")
        return Offer(ref, tip, "missing", "its packs have not come")

    @staticmethod
    def _show(fork: Repository, offers: Sequence[Offer], beyond: Sequence[Beyond]) -> None:
        """The fork's branches are the offers that hold, and nothing else."""
        wanted = {offer.ref: offer.tip for offer in offers if offer.stage in ("offered", "taken")}
        here = read_places(fork)
        lines = base_lines(base for found in beyond for base in found.bases)
        lines += [b"update %s %s\n" % (ref, tip.hex().encode()) for ref, tip in wanted.items() if here.get(ref) != tip]
        bases = {BASES + base.hex().encode() for found in beyond for base in found.bases}
        gone = [
            b"delete %s\n" % ref
            for ref in here
            if (ref.startswith(BRANCHES) and ref not in wanted) or (ref.startswith(BASES) and ref not in bases)
        ]
        for changes in (gone, lines):  # in this order, as x may go for x/y
            if changes:
                fork.git("update-ref", "--stdin", stdin=b"".join(changes))


def _key_of_fork(path: Path) -> Fingerprint | None:
    """Whose it is by its name; None for what is no fork."""
    try:
        key = parse_fingerprint(path.stem)
    except BadId:
        return None
    return key if path.name == f"{key}.git" else None


def _words(raw: bytes) -> dict[str, Any]:
    """What a commit says of itself, on one line each: another's words, in which nothing steers a terminal."""
    head, _, message = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    author = next((line[7:] for line in lines if line.startswith(b"author ")), b"")
    committer = next((line[10:] for line in lines if line.startswith(b"committer ")), b"")
    who, _, _ = author.rpartition(b"> ")
    seconds = committer.rpartition(b"> ")[2].split(b" ")[0]
    is_time = seconds.isdigit() and len(seconds) <= 11
    return {
        "author": printable(who + b">" if who else author),
        "date": int(seconds) if is_time else None,
        "subject": printable(message.lstrip(b"\n").partition(b"\n")[0]),
    }


def printable(name: bytes) -> str:
    """Text from outside on one line of at most 200 characters."""
    text = name[: 4 * _SUBJECT].decode("utf-8", "replace")[:_SUBJECT]
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def fetch_offers(inbox: Inbox, key: Fingerprint, offers: Sequence[Offer]) -> dict[str, bytes]:
    """Bring what a fork offers into the repository, below `INBOX_REFS`, and drop what is there of it and is not
    offered any more. Gives each ref that is there now and the offer's name. Raises `GitFailed`.
    """
    fork, place = inbox.fork(key), INBOX_REFS + key.encode() + b"/"
    wanted = {place + o.ref.removeprefix(BRANCHES): o for o in offers if o.stage == "offered"}
    here = [ref for ref in read_places(inbox.repository) if ref.startswith(place) and ref not in wanted]
    if here:
        inbox.repository.git("update-ref", "--stdin", stdin=b"".join(b"delete %s\n" % ref for ref in here))
    if wanted:
        pairs = [f"+{os.fsdecode(offer.ref)}:{os.fsdecode(ref)}" for ref, offer in wanted.items()]
        asked = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", str(fork.path), *pairs)
        inbox.repository.git(*asked, env={"GIT_ALLOW_PROTOCOL": "file"})
    return {ref.decode("utf-8", "replace"): offer.ref for ref, offer in wanted.items()}


def merge_offer(inbox: Inbox, key: Fingerprint, offer: Offer, environment: Mapping[str, str]) -> str | None:
    """Move the publisher's branch of this name forward to an offer, by a push as anybody's; why not, else None.

    ``environment``: for the hooks of the repository that is pushed to.
    """
    here = read_places(inbox.repository)
    if offer.ref not in here:
        return f"there is no {offer.ref.decode('utf-8', 'replace')} here"
    fork, name = inbox.fork(key), os.fsdecode(offer.ref)
    pushed = f"{offer.tip.hex()}:{name}"
    old = here[offer.ref].hex()
    if fork.git("rev-list", "--max-count=1", old, f"^{offer.tip.hex()}").strip():
        return f"it does not stand on {old}, where {name} is: git merge it, or ask for a new offer"
    # What our own git runs in is none of what the publisher's git and hooks run in.
    ours = " ".join(f"-u {key}" for key in sorted(git_environment()) if key not in environment)
    receive = f"--receive-pack=env {ours} git receive-pack"
    try:
        env = {**environment, "GIT_ALLOW_PROTOCOL": "file"}
        fork.git("push", "--quiet", receive, str(inbox.repository.path), pushed, env=env)
    except GitFailed as error:
        return str(error)
    return None


def remove_fork(inbox: Inbox, text: str) -> Fingerprint:
    """Forget the fork of which ``text`` is the key, or its last digits; gives the key. Raises `NoInbox`, OSError."""
    found = [key for key in inbox.known() if key.endswith(text.upper())] if len(text) >= 8 else []
    if len(found) != 1:
        raise NoInbox(f"{text}: there is no fork of this key; gtfs inbox {inbox.repository.path} shows all of them")
    fetch_offers(inbox, found[0], ())
    shutil.rmtree(inbox.fork(found[0]).path)
    return found[0]
