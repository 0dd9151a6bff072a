# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything lies in a repository's state directory, ``$GIT_DIR/gtfs`` (design.md §7). Paths only; any thread."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from gtfs.feed import CHUNKS, LATEST
from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX, Fingerprint, InfoHash, ObjectId, ReelName

_DIRECTORY: Final = "gtfs"  # in the repository
_FORK: Final = "gtfs-fork.git"  # beside it
_TABLE_SUFFIX: Final = ".table"
_RESUME_SUFFIX: Final = ".resume"
_DUE_SUFFIX: Final = ".due"


def fork_of(repository: Path) -> Path:
    """Where a repository's fork would be, without all the other paths: it is asked of thousands again and again."""
    return repository / _FORK


class Layout:
    """The paths below ``root``; nothing is made or looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.control = root / "control"  # the socket of a running node
        # Settings and trust.
        self.config = root / "config"
        self.keyring = root / "keyring.gpg"  # the small ring frozen for this repository (design.md §10)
        self.left_keys = root / "left-keys.gpg"  # revoked ones that left the ring: not forgotten if they come back
        self.followed_ring = root / "followed-ring"  # what following a ring in git has come to
        self.allowed_signers = root / "allowed_signers"  # SSH keys that the user put there
        self.keys = root / "keys"  # secret ones, and for a moment homes of GnuPG
        self.node_key = self.keys / "node.asc"
        self.feed_key = self.keys / "feed.key"
        self.bell_key = self.keys / "bell.key"
        self.signing_key = self.keys / "signing.asc"  # its public half, for the keyrings of mirrors
        self.signing_home = self.keys / "signing"  # a home of GnuPG with the publisher's signing subkey alone
        self.accepted_faults = root / "accepted-faults"
        self.unlisted_faults = root / "unlisted-faults"  # what the last publish stopped for
        self.outstanding = root / "outstanding"  # a publish that failed and is tried again
        self.proposal = root / "proposal"  # the text of the next catalogue, for its signers
        # Announcements of tags (design.md §12).
        self.announcements = root / "announcements"  # a file for each tag that is still to be announced
        self.announced_before = self.announcements / "old"  # the tags that were there when announcing was set up
        self.unannounced = self.announcements / "outstanding"  # what failed of it, and is tried again
        # What is held.
        self.index = root / "node.db"
        self.checked = root / "checked"  # when each reel was read last, and what is damaged
        self.open_reel = root / "open.reel"
        self.reels = root / "reels"
        self.catalogue = root / "catalogue"
        self.latest = self.catalogue / LATEST
        self.chunks = self.catalogue / CHUNKS  # what those of format 2 name
        self.signoffs = root / "signoffs"
        self.attestations = root / "attestations"  # of others, and this node's own as one of them
        self.attestation = root / "attestation"  # this node's own, for a web server
        self.attested = self.attestation / LATEST
        self.attester_key = self.attestation / "key.asc"
        self.incoming = root / "incoming"
        self.quarantine = root / "quarantine"
        self.pointed = root / "pointed"  # catalogues, and their chunks, that are seeded or fetched as torrents
        self.fetched_chunks = self.pointed / CHUNKS
        self.bells = root / "bells"  # the torrents that tell of newer catalogues
        # What git is told, and is about to do.
        self.followed = root / "followed"  # refs that pushes are refused to
        self.moving = root / "moving"
        # Programs that follow moved refs, and what they said.
        self.hooks = root / "hooks"
        self.git_hooks = root.parent / "hooks"  # git's own, if its settings name no other
        self.hooks_log = root / "hooks.log"
        self.hooks_log_before = root / "hooks.log.1"
        # Of a mount in the background that was told of no other log.
        self.log = root / "node.log"
        self.log_before = root / "node.log.1"
        # In a clone that follows several publishers: repositories that have its objects and the others' states.
        self.other_publishers = root.parent / "gtfs-publishers"
        # What is offered from here for what somebody else publishes, and what others offer for it.
        self.fork = fork_of(root.parent)
        self.inbox = root.parent / "gtfs-inbox"
        # Work under way, swept at start.
        self.spool = root / "spool"
        self.unpacking = root / "unpacking"
        self.repacking = root / "repacking"
        self.config_lock = root / "config.lock"  # of a git config that was killed; ours alone

    @staticmethod
    @lru_cache(maxsize=32)
    def in_repository(repository: Path) -> Layout:
        """That of a bare repository, whether there is one or not; what opens one asks for it several times."""
        return Layout(repository / _DIRECTORY)

    def reel(self, name: ReelName) -> Path:
        """Where a reel lies, whole or in part."""
        return self.reels / (name + REEL_SUFFIX)

    def metainfo(self, name: ReelName) -> Path:
        """Where its .torrent lies."""
        return self.reels / (name + METAINFO_SUFFIX)

    def table(self, name: ReelName) -> Path:
        """Where its table lies, once it is known to be the reel's."""
        return self.reels / (name + _TABLE_SUFFIX)

    def resume(self, name: ReelName) -> Path:
        """Where libtorrent's resume data lies."""
        return self.reels / (name + _RESUME_SUFFIX)

    def reel_names(self) -> list[ReelName]:
        """The reels of which there is a file, sorted."""
        return sorted(ReelName(path.name.removesuffix(REEL_SUFFIX)) for path in self.reels.glob("*" + REEL_SUFFIX))

    @property
    def spool_beside(self) -> Path:
        """Where a reel is encoded again beside what has the turn to write."""
        return self.spool / "beside"

    def bell(self, infohash: InfoHash) -> Path:
        """Where a bell's torrent and its pieces lie."""
        return self.bells / infohash.hex()

    def signoff(self, file_name: str) -> Path:
        """Where a sign-off lies that the index names."""
        return self.signoffs / file_name

    def announcement(self, tag: ObjectId) -> Path:
        """Where what is known of a tag lies until it is announced."""
        return self.announcements / (tag.hex() + _DUE_SUFFIX)

    def inbox_of(self, key: Fingerprint) -> Path:
        """Where the fork of this key lies, as it came from there."""
        return self.inbox / f"{key}.git"

    def due_announcements(self) -> list[Path]:
        """Those that are there."""
        return sorted(self.announcements.glob("*" + _DUE_SUFFIX))

    def batch(self, number: int) -> Path:
        """Where the packs of a batch of the ingest lie while they are judged; swept at start."""
        return self.root / f"batch-{number}.tmp"

    def batches(self) -> Iterator[Path]:
        """Those that are there."""
        return self.root.glob("batch-*.tmp")
