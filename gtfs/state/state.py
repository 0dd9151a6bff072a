# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's state on disk (design.md §7), opened under its lock and swept of what a crash left. One writer.

Synchronous: `Node` and the commands that need no network use it alike.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType

from gtfs.catalogue.accept import Accepted, Held
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.freshness import Freshness, FreshnessRefused, accept_freshness
from gtfs.catalogue.race import Race, live_races
from gtfs.catalogue.recovery import why_fallen
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import make_directory, sweep_temporaries
from gtfs.feed import parse_feed
from gtfs.ids import Fingerprint, ReelName, parse_fingerprint
from gtfs.ingest.foresight import Foresight
from gtfs.ingest.gate import PolicyGate
from gtfs.ingest.ingest import Ingest
from gtfs.ingest.lost import doubt
from gtfs.ingest.quarantine import Quarantine
from gtfs.ingest.quorum import NOTHING_COLLECTED, Collected
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.sweep import sweep
from gtfs.ingest.takeup import TakenUp, find_new_of_sound, sweep_spool, take_up
from gtfs.ingest.tips import hold_kept
from gtfs.pack.limits import Limits
from gtfs.reel.index import ReelRow
from gtfs.reel.ledger import Before
from gtfs.reel.openreel import OpenReelWriter
from gtfs.reel.recover import open_index, recover_open_reel
from gtfs.repo.beyond import read_bases
from gtfs.repo.history import OWN_REFS, Ref
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.work import UNWATCHED, Work
from gtfs.state.collected import AttestationStore, Expected, expect
from gtfs.state.config import Config, sweep_config
from gtfs.state.lock import Lock
from gtfs.state.private import ReadOnly, check_private, is_read_only, make_private
from gtfs.state.reelfiles import ReelFiles
from gtfs.state.selection import Selection, select_refs
from gtfs.state.turnover import drop, follow_catalogue
from gtfs.trust.keyring import Keyring, open_keyring
from gtfs.trust.nodekey import NodeKey, make_node_key, read_node_key
from gtfs.trust.ownhome import sweep_homes
from gtfs.trust.policy import Policy, named_subkeys
from gtfs.trust.signoff import SignoffRow, write_signoff

log = logging.getLogger(__name__)


class State:
    """Opens everything and closes it in reverse; a context manager.

    ``limits``: instead of those that the config, and options (``given``), say. ``may_be_read_only``: do with a state
    directory that cannot be written; then `read_only` says so, nothing is swept or mended, and what would write raises
    `ReadOnly`, IndexUnusable or OSError. ``is_node``: whoever has it answers others' commands.
    """

    def __init__(
        self,
        repository: Repository,
        limits: Limits | None = None,
        *,
        given: Mapping[str, int] | None = None,
        may_be_read_only: bool = False,
        is_node: bool = False,
    ) -> None:
        self.repository = repository
        self.layout = layout = repository.layout
        root = layout.root
        self.read_only = is_read_only(root)
        if self.read_only:
            check_private(root)
            if not may_be_read_only or not os.path.lexists(root):
                raise ReadOnly(root)
        else:
            make_private(root, writers_modes=(layout.incoming.name, layout.reels.name))
            for directory in (layout.reels, layout.incoming, layout.signoffs):
                make_directory(directory)
        self._exit = contextlib.ExitStack()
        try:
            self.lock = Lock(layout.lock, is_node=is_node)
            self._exit.callback(self.lock.release)
            if self.read_only:
                self.lock.acquire_shared()
            else:
                self.lock.acquire()
                self._sweep()
            self.config = Config(repository)
            self.limits = limits or self.config.limits(given)
            self.index = open_index(layout.index, layout.reels, layout.open_reel, read_only=self.read_only)
            self._exit.callback(self.index.close)
            self._open_reel = None if self.read_only else self._recover()
            self._exit.callback(self._close_open_reel)
            self.reel_files = ReelFiles(self.index, layout, repository.fmt)
            self.quarantine = Quarantine(layout.quarantine, self.limits.quarantine_bytes)
            self.catalogues = CatalogueStore(layout.catalogue, read_only=self.read_only)
            self.attestations = AttestationStore(layout.attestations)
            self.held: Held | None = self.catalogues.highest()
            self.is_followed = True  # by index and disk, is the held one; else see `finish_hold`
            self.previous: Catalogue | None = None  # the one before the held one
            self._superseded: list[ReelRow] = []
            if not self.read_only:
                self._finish_crashed()
                if not self.config.is_clone():
                    hold_kept(repository, self.index)
            self._warned_of: set[Fingerprint] = set()
            self.keyring: Keyring | None = None
            self.fresh: Freshness | None = None  # what was said last of the held catalogue
            self.races: list[Race] = []  # what other signers published beside the held catalogue
            self.fallen: str | None = None  # why too few vouch for the held catalogue by the keyring of now
            self.load_keyring()
        except BaseException:
            self._exit.close()
            raise
        self._signer: NodeKey | None = None
        self._ingest: Ingest | None = None

    def __enter__(self) -> State:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._exit.close()

    def load_keyring(self) -> None:
        """Read the frozen ring again after a change; raises `BadKeyring`."""
        self.keyring = None
        if self.layout.keyring.exists():
            self.keyring = open_keyring(self.layout.keyring)
            self._name_roles()
        self._read_freshness()
        self.look_who_vouches()

    def _name_roles(self) -> None:
        """Who in the ring counts by name only: who is there for catalogues, or for freshness, signs no commit."""
        if self.keyring is not None:
            named_only = {parse_fingerprint(text) for text in self.config.get_all("cataloguekey")}
            named_only |= {*self.config.freshness_keys(), *(self.held.catalogue.freshness if self.held else ())}
            self.keyring = self.keyring.with_named_only(named_only)

    def _read_freshness(self) -> None:
        """Judge what is kept of the held catalogue's freshness by the keys of now."""
        self.fresh = None
        said = None if self.held is None else self.catalogues.freshness(self.held.catalogue.version)
        if self.held is not None and self.keyring is not None and said is not None:
            try:
                self.fresh = accept_freshness(said, self.held, self.keyring, int(time.time()))
            except FreshnessRefused as error:
                log.warning("what is kept in %s does not count: %s", self.layout.catalogue, error)

    def look_who_vouches(self) -> None:
        """Whether a key was revoked since that the held catalogue stands on, and who has published beside it."""
        self.fallen, self.races = None, []
        if self.held is not None and self.keyring is not None:
            self.races = live_races(self.held, self.catalogues.races(), self.keyring, int(time.time()))
            self.fallen = why_fallen(self.held, self.catalogues.before(self.held.catalogue.version), self.keyring)

    def good_until_s(self) -> int | None:
        """Until when the held catalogue counts, by its own word and by what was said of its freshness."""
        if self.held is None:
            return None
        return max(self.held.catalogue.valid_until_s, 0 if self.fresh is None else self.fresh.valid_until_s)

    def own_key(self) -> Fingerprint | None:
        """The publisher's key, None for a node that does not publish; raises `BadId`."""
        return self.config.sign_key()

    def use_keyring(self, named_only: Collection[Fingerprint] | None = None) -> None:
        """Act on a frozen ring that was written, and on who in it counts by name only (None: as before)."""
        if named_only is not None and set(named_only) != set(self.config.get_all("cataloguekey")):
            self.config.set("cataloguekey", *sorted(named_only))
        self.load_keyring()
        self.renew_gate()

    def _sweep(self) -> None:
        """Drop what a crash left."""
        layout = self.layout
        sweep(self.repository)
        sweep_config(self.repository)
        sweep_spool(self.repository)
        sweep_homes(layout.keys)
        for directory in (
            layout.root, layout.reels, layout.catalogue, layout.chunks, layout.signoffs, layout.keys,
            layout.attestations, layout.attestation, layout.announcements,
        ):  # fmt: skip
            sweep_temporaries(directory)

    def reread(self) -> None:
        """Read settings and frozen ring again; raises `BadConfig`, `BadPolicy`, `BadId`, `BadFeed`, `BadKeyring`."""
        config = Config(self.repository)
        config.policies()
        config.sign_key()
        config.valid_days()
        for text in config.get_all("source"):
            parse_feed(text)
        self.load_keyring()
        self.config = config
        self.renew_gate()

    def _recover(self) -> OpenReelWriter:
        recovered = recover_open_reel(self.layout.open_reel, self.index, self.repository.fmt)
        if recovered.cut_bytes or recovered.dropped:
            log.info("open reel: packs lost: %d, bytes cut off: %d", len(recovered.dropped), recovered.cut_bytes)
        if recovered.dropped:
            self.index.meta.set_taken_up(())  # they are to be found again
        return OpenReelWriter(self.layout.open_reel, self.repository.fmt)

    def rest(self) -> bool:
        """Give back what is open and was not used since the last call, until it is; whether it was much. Blocking."""
        if self._open_reel is not None:
            self._open_reel.rest()
        return self.index.rest()

    def _close_open_reel(self) -> None:
        if self._open_reel is not None:
            self._open_reel.close()

    def open_reel(self) -> OpenReelWriter:
        """The open reel's writer; after a failed write (a full disk) a new one on what is certainly there.

        Raises `ReadOnly`.
        """
        if self._open_reel is None:
            raise ReadOnly(self.repository.state_directory)
        if self._open_reel.is_broken:
            self._open_reel.close()
            self._open_reel = self._recover()
        return self._open_reel

    def empty_open_reel(self) -> None:
        """Give the open reel's space back once no row points into it; until then its dead bytes stay."""
        if self.open_reel().size and not self.index.reels.holds(None):
            self.open_reel().truncate_to(0)

    def hold(self, accepted: Accepted, *, is_own: bool = False) -> None:
        """Act on a catalogue that is durable: reels follow it, and the next ingest its policy.

        ``is_own``: it was published here, and refs stand where it has them. Raises OSError, `IndexUnusable`,
        `GpgvFailed`; then it is held all the same, and the rest is for `finish_hold`.
        """
        before, self.held, self.fresh = self.held, accepted, None
        self.previous = None if before is None else before.catalogue
        self.is_followed = False
        self._name_roles()
        self.renew_gate()  # asks nothing of gpgv, which can fail
        self.look_who_vouches()
        with self.index.transaction() if is_own else contextlib.nullcontext():
            superseded = follow_catalogue(self.reel_files, accepted.catalogue, self.previous)
            if is_own:
                old = None if before is None else Before(before.digest, before.catalogue.refs)
                self.index.refs.set_held(accepted.catalogue.refs, accepted.digest, old)
        self._superseded, self.is_followed = superseded, True

    def finish_hold(self) -> None:
        """Do what an error left of holding what is durable; raises as `hold`, and `DamagedStore`."""
        held, versions = self.held, self.catalogues.versions()
        if versions and (held is None or held.catalogue.version != versions[-1]):
            newest = self.catalogues.highest()
            assert newest is not None
            self.hold(newest)
        elif held is not None and not self.is_followed:
            self.look_who_vouches()
            self._superseded = follow_catalogue(self.reel_files, held.catalogue, self.previous)
            self.is_followed = True

    def _finish_crashed(self) -> None:
        """Finish what a crash may have left of `hold`; nothing is in the swarm yet."""
        self.reel_files.sweep_strays()
        if self.held is not None:
            before = self.catalogues.before(self.held.catalogue.version)
            self.previous = None if before is None else before.catalogue
            self._superseded = follow_catalogue(self.reel_files, self.held.catalogue, self.previous)
            self.drop_superseded(self.pop_superseded())

    def lists(self, name: ReelName) -> bool:
        """Whether the held catalogue has this reel; nothing is to come into the rows of others."""
        return self.held is not None and any(entry.name == name for entry in self.held.catalogue.reels)

    def pop_superseded(self) -> list[ReelRow]:
        """The reels that nobody needs any more, once: for the swarm to let go of and for `drop_superseded`."""
        found, self._superseded = self._superseded, []
        return found

    def let_go(self, reels: Sequence[ReelRow]) -> None:
        """Supersede these, too, in which nothing lies any more."""
        self._superseded += reels

    def drop_superseded(self, reels: Sequence[ReelRow]) -> None:
        """Delete files and rows of those that are not listed again. Raises OSError; the next start tries again."""
        drop(self.reel_files, reels, None if self.held is None else self.held.catalogue)

    def gate(self) -> PolicyGate:
        """Step 4 of design.md §8 as this node demands it now."""
        catalogue = None if self.held is None else self.held.catalogue
        policy = None if catalogue is None else catalogue.policy
        local = self.config.policies()
        self._warn_of_subkeys((*local, *(policy or ())))
        accepted = frozenset(() if catalogue is None else catalogue.accepted_faults)
        return PolicyGate(local, policy, self.keyring, accepted)

    def _warn_of_subkeys(self, policies: Sequence[Policy]) -> None:
        """Say once what would else only be noticed as refusals."""
        for line, subkey, primary in named_subkeys(policies, self.keyring) if self.keyring is not None else ():
            if subkey not in self._warned_of:
                self._warned_of.add(subkey)
                log.warning("policy %r: %s is a subkey and lets nobody sign; name its key, %s", line, subkey, primary)

    def demands(self) -> Demands:
        """Step 9: what refs must meet to move, as this node demands it now."""
        policy = None if self.held is None else self.held.catalogue.policy
        return Demands(self.config.policies(), policy, self.keyring, self._collected)

    def expected(self) -> Expected | None:
        """What others' sign-offs have to be like; None where there is nothing, or nobody, to sign off."""
        if self.held is None or self.keyring is None:
            return None
        return expect(self.held, self.keyring, self.config.policies(), self.catalogues.known_digest)

    def _collected(self) -> Collected:
        expected = self.expected()
        return NOTHING_COLLECTED if expected is None else self.attestations.verified(expected)

    def ingest(self) -> Ingest:
        """The one way in."""
        if self._ingest is None:
            self._ingest = self.new_ingest()
        return self._ingest

    def new_ingest(self) -> Ingest:
        """Another one, for another thread to check with; only one at a time may run."""
        parts = (self.repository, self.index, self.open_reel, self.gate(), self.sign_off, self.limits)
        made = Ingest(*parts, keeps_marks=self.config.is_clone(), borrows=self.config.is_fork())
        return self._exit.enter_context(made)

    def renew_gate(self) -> None:
        """Let the next ingest see a new catalogue, keyring or policy."""
        if self._ingest is not None:
            self._ingest.use_gate(self.gate())

    def take_up(
        self,
        work: Work = UNWATCHED,
        *,
        refs: Sequence[Ref] | None = None,
        retry: bool = True,
        foresight: Foresight | None = None,
    ) -> TakenUp:
        """Encode what plain git put into the repository since the last time.

        ``refs``: what `refs` has just chosen, if it was asked. What refs reached then is not walked again. Unless
        ``retry``, neither is what could not be made then. A read-only state stays as it is. ``foresight`` looks at
        the packs that are made.
        """
        if self.read_only or (refs is None and self.config.is_clone()):  # what its user commits is nobody's business
            return TakenUp(0, 0, {})
        refs = self.refs().chosen if refs is None else refs
        tips = frozenset(oid for name, oid, _ in refs if not name.startswith(OWN_REFS))
        before = self.index.meta.taken_up()
        again = list(self.index.unencodable.all()) if retry else []
        if tips == before and not again:
            return TakenUp(0, 0, {})
        try:
            # In a fork, what is not another's is little.
            without = read_bases(self.repository) if self.config.is_fork() else before
            new = find_new_of_sound(self.repository, self.index, without, refs)
        except GitFailed as e:
            if self.config.sign_key() is not None:
                raise
            log.warning("what refs reach cannot be read (%s); a sync brings what git has lost", e)
            doubt(self.index)
            return TakenUp(0, 0, {})
        if again and before:
            new = list(dict.fromkeys((*again, *new)))
        done = take_up(self.repository, self.index, self.open_reel(), new, self.limits, work, foresight)
        if not work.stop():
            self.index.meta.set_taken_up(tips)
        return done._replace(saw_all=not without and not again)

    def refs(self, refs: Sequence[Ref] | None = None) -> Selection:
        """The refs that this node is about, of all (None: as they stand): what a publisher publishes, else each."""
        return select_refs(self.repository, self.config, self.held, refs)

    def sign_off(self, packs: Sequence[SignoffRow]) -> tuple[str, int]:
        """Step 5 of design.md §8; see `SignOffWriter`."""
        if self._signer is None:
            make_node_key(self.layout.node_key)
            self._signer = read_node_key(self.layout.node_key)
        now_s = int(time.time())
        return write_signoff(self.layout.signoffs, packs, self._signer, now_s).name, now_s
