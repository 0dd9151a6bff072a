# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's state on disk (design.md §7), opened under its lock and swept of what a crash left. One writer.

Synchronous: `Node` and the commands that need no network use it alike.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from gtfs.catalogue.accept import Accepted, Held
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import sweep_temporaries
from gtfs.ids import ReelName
from gtfs.ingest.gate import PolicyGate
from gtfs.ingest.ingest import Ingest, sweep
from gtfs.ingest.lost import doubt
from gtfs.ingest.quarantine import Quarantine
from gtfs.ingest.takeup import TakenUp, find_new, sweep_spool, take_up
from gtfs.ingest.tips import hold_kept
from gtfs.node.config import Config
from gtfs.node.lock import Lock
from gtfs.node.stock import Stock
from gtfs.node.succession import drop, settle
from gtfs.pack.limits import Limits
from gtfs.reel.index import Index, ReelRow
from gtfs.reel.openreel import OpenReelWriter
from gtfs.reel.recover import recover_open_reel
from gtfs.repo.history import read_tips
from gtfs.repo.repository import GitFailed, Repository
from gtfs.trust.keyring import Keyring, open_keyring
from gtfs.trust.sign import Signer, make_node_key, node_signer, sweep_node_signer
from gtfs.trust.signoff import SignoffRow, write_signoff

log = logging.getLogger(__name__)

INDEX = "node.db"
OPEN_REEL = "open.reel"
REELS = "reels"
INCOMING = "incoming"
QUARANTINE = "quarantine"
SIGNOFFS = "signoffs"
KEYS = "keys"
CATALOGUE = "catalogue"
KEYRING = "keyring.gpg"
LOCK = "lock"


class State:
    """Opens everything and closes it in reverse; a context manager."""

    def __init__(self, repository: Repository, limits: Limits | None = None) -> None:
        self.repository = repository
        self.limits = limits or Limits()
        root = repository.state
        root.mkdir(exist_ok=True)
        for name in (REELS, INCOMING, SIGNOFFS):
            (root / name).mkdir(exist_ok=True)
        self.reels = root / REELS
        self.incoming = root / INCOMING
        self.open_reel_path = root / OPEN_REEL
        self._exit = contextlib.ExitStack()
        try:
            self.lock = Lock(root / LOCK)
            self.lock.take()
            self._exit.callback(self.lock.release)
            sweep(repository)
            sweep_spool(repository)
            sweep_node_signer(root / KEYS)
            for directory in (root, self.reels, *(root / name for name in (CATALOGUE, SIGNOFFS, KEYS))):
                sweep_temporaries(directory)
            self.config = Config(repository)
            self.index = Index(root / INDEX)
            self._exit.callback(self.index.close)
            self._open_reel = self._recover()
            self.stock = Stock(self.index, self.reels, self.open_reel_path, repository.fmt)
            self._exit.callback(lambda: self._open_reel.close())
            self.quarantine = Quarantine(root / QUARANTINE)
            self.catalogues = CatalogueStore(root / CATALOGUE)
            self.held: Held | None = self.catalogues.highest()
            self._previous: Catalogue | None = None
            self._superseded: list[ReelRow] = []
            self._settle_at_start()
            hold_kept(repository, self.index)
            self.keyring: Keyring | None = None
            self.load_keyring()
        except BaseException:
            self._exit.close()
            raise
        self._signer: Signer | None = None
        self._ingest: Ingest | None = None

    def __enter__(self) -> State:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._exit.close()

    @property
    def keyring_path(self) -> Path:
        """The small ring frozen for this repository (design.md §10)."""
        return self.repository.state / KEYRING

    def load_keyring(self) -> None:
        """Read the frozen ring again after a change; raises `BadKeyring`."""
        self.keyring = open_keyring(self.keyring_path) if self.keyring_path.exists() else None

    def _recover(self) -> OpenReelWriter:
        recovered = recover_open_reel(self.open_reel_path, self.index, self.repository.fmt)
        if recovered.cut_bytes or recovered.dropped:
            log.info("open reel: %d packs lost, %d bytes cut off", len(recovered.dropped), recovered.cut_bytes)
        if recovered.dropped:
            self.index.set_taken_up(())  # they are to be found again
        return OpenReelWriter(self.open_reel_path, self.repository.fmt)

    def open_reel(self) -> OpenReelWriter:
        """The open reel's writer; after a failed write (a full disk) a new one on what is certainly there."""
        if self._open_reel.is_broken:
            self._open_reel.close()
            self._open_reel = self._recover()
        return self._open_reel

    def empty_open_reel(self) -> None:
        """Give the open reel's space back once no row points into it; until then its dead bytes stay."""
        if self.open_reel().size and not self.index.holds(None):
            self.open_reel().truncate_to(0)

    def hold(self, accepted: Accepted) -> None:
        """Act on a catalogue that is durable: reels follow it, and the next ingest its policy. Raises OSError."""
        self._previous = None if self.held is None else self.held.catalogue
        self.held = accepted
        self.renew_gate()
        self._superseded = settle(self.stock, accepted.catalogue, self._previous)

    def _settle_at_start(self) -> None:
        """Finish what a crash may have left of `hold`; nothing is in the swarm yet."""
        self.stock.sweep_strays()
        if self.held is not None:
            before = self.catalogues.before(self.held.catalogue.version)
            self._previous = None if before is None else before.catalogue
            self._superseded = settle(self.stock, self.held.catalogue, self._previous)
            self.drop_superseded(self.take_superseded())

    def take_superseded(self) -> list[ReelRow]:
        """The reels that nobody needs any more, once: for the swarm to let go of and for `drop_superseded`."""
        found, self._superseded = self._superseded, []
        return found

    def drop_superseded(self, reels: Sequence[ReelRow]) -> None:
        """Delete their files and rows. Raises OSError; the next start tries again."""
        if reels:
            drop(self.stock, reels)

    def gate(self) -> PolicyGate:
        """Step 4 of design.md §8 as this node demands it now."""
        policy = None if self.held is None else self.held.catalogue.policy
        return PolicyGate(self.config.policies(), policy, self.keyring)

    def ingest(self) -> Ingest:
        """The one way in."""
        if self._ingest is None:
            self._ingest = self.new_ingest()
        return self._ingest

    def new_ingest(self) -> Ingest:
        """Another one, for another thread to check with; only one at a time may run."""
        return self._exit.enter_context(
            Ingest(self.repository, self.index, self.open_reel, self.gate(), self._sign_off, self.limits)
        )

    def renew_gate(self) -> None:
        """Let the next ingest see a new catalogue, keyring or policy."""
        if self._ingest is not None:
            self._ingest.use_gate(self.gate())

    def reel_path(self, name: ReelName) -> Path:
        """Where a reel lies, whole or in part."""
        return self.stock.path(name)

    def take_up(
        self,
        *,
        jobs: int | None = None,
        retry: bool = True,
        stop: Callable[[], bool] = lambda: False,
        begin: Callable[[int], None] = lambda _n: None,
        progress: Callable[[int, int], None] = lambda _n, _b: None,
    ) -> TakenUp:
        """Encode what plain git put into the repository since the last time; ``begin`` hears how many.

        What refs reached then is not walked again. Unless ``retry``, neither is what could
        not be made then.
        """
        tips, before = read_tips(self.repository), self.index.taken_up()
        again = list(self.index.unencodable()) if retry else []
        if tips == before and not again:
            return TakenUp(0, 0, {})
        try:
            new = find_new(self.repository, self.index, before)
        except GitFailed as e:
            if self.config.sign_key() is not None:
                raise
            log.warning("what refs reach cannot be read (%s); a sync brings what git has lost", e)
            doubt(self.index)
            return TakenUp(0, 0, {})
        if again and before:
            new = list(dict.fromkeys((*again, *new)))
        begin(len(new))
        done = take_up(self.repository, self.index, self.open_reel(), new, jobs=jobs, stop=stop, progress=progress)
        if not stop():
            self.index.set_taken_up(tips)
        return done

    def _sign_off(self, packs: Sequence[SignoffRow]) -> tuple[str, int]:
        if self._signer is None:
            keys = self.repository.state / KEYS
            make_node_key(keys)
            self._signer = self._exit.enter_context(node_signer(keys))
        now_s = int(time.time())
        return write_signoff(self.repository.state / SIGNOFFS, packs, self._signer, now_s).name, now_s
