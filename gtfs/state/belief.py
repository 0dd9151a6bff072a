# SPDX-License-Identifier: GPL-3.0-or-later
"""A first catalogue is believed before there is a repository, or a state, to keep it in (design.md §5). Any thread."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from gtfs.catalogue.accept import Accepted, FirstTrust, NotSigned, accept
from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.reftree import ChunkSource
from gtfs.durable import make_directory, replace_file
from gtfs.ids import Fingerprint
from gtfs.repo.repository import Repository
from gtfs.state.config import Config
from gtfs.state.firsttrust import NewRing, first_trust
from gtfs.state.trustgiven import TrustGiven
from gtfs.trust.verify import BadSignature


@dataclass(frozen=True)
class Belief:
    """A catalogue that is believed, by which ring; ``first`` is the trust that asks nobody again."""

    accepted: Accepted
    ring: bytes
    named_only: frozenset[Fingerprint]
    first: FirstTrust


def believe(given: TrustGiven, document: bytes, chunks: ChunkSource | None = None) -> Belief:
    """Judge a first catalogue; whoever may sign it is asked about, or given, here.

    ``chunks`` has what it names. Raises what `first_trust` and `accept` raise.
    """
    with tempfile.TemporaryDirectory(prefix="gtfs-") as directory:
        ring = NewRing(Path(directory))
        try:
            first = first_trust(ring, given, document)
        except BadSignature as e:
            raise NotSigned(e.reason) from None
        assert ring.keyring is not None
        accepted = accept(document, None, ring.keyring, first, int(time.time()), chunks=chunks)
        believed = frozenset(signature.primary for signature in accepted.signatures)
        return Belief(
            accepted,
            ring.layout.keyring.read_bytes(),
            frozenset(ring.keyring.named_only),
            replace(first, allowed=believed, confirm=None),
        )


def keep_ring(repository: Repository, belief: Belief) -> None:
    """Let it be the repository's, with the chunks, in its state directory, which is there. Raises OSError."""
    replace_file(repository.layout.keyring, belief.ring)
    tree = belief.accepted.catalogue.tree
    if tree is not None:
        make_directory(repository.layout.catalogue)
        ChunkStore(repository.layout.chunks).make_durable(tree)
    if belief.named_only:
        Config(repository).set("cataloguekey", *sorted(belief.named_only))
