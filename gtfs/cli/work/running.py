# SPDX-License-Identifier: GPL-3.0-or-later
"""What mount, seed and sync share: a SOURCE with its options, and the question about a first signer."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from gtfs.catalogue.statement import Statement
from gtfs.cli.terminal import complain
from gtfs.errors import Blame, GtfsError
from gtfs.feed import DhtFeed
from gtfs.ids import Fingerprint
from gtfs.node.dhtfeed import FIRST_S
from gtfs.state.source import Source
from gtfs.state.trustgiven import TrustGiven

_FILES = 65536
_LEAST_FILES = 64  # a node with one reel and one peer has about 50 open
_LEAST_SPACE = 640 << 20  # bytes, most of them stacks of threads that are never used

_LOOK_S: Final = 0.2
_ANSWER_BYTES: Final = 4096  # a terminal gives no longer line

_asking = threading.Lock()


class ResourcesTooLow(GtfsError):
    """This process may use too little of the machine for a swarm: libtorrent would end it without a word."""

    fault = Blame.SYSTEM


def raise_file_limit() -> None:
    """A swarm keeps its connections and its reels open: the soft limit of descriptors is often only 1024.

    Raises `ResourcesTooLow` where even the hard one, or that of the address space, cannot do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if wanted < _LEAST_FILES:
        raise ResourcesTooLow(
            f"only {wanted} files may be open (ulimit -n, LimitNOFILE=); allow at least {_LEAST_FILES}"
        )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY and space < _LEAST_SPACE:
        raise ResourcesTooLow(
            f"only {space >> 20} MiB of address space are allowed (ulimit -v, LimitAS=); "
            f"allow at least {_LEAST_SPACE >> 20} MiB"
        )


def ask_first(catalogue: Statement, signers: Sequence[tuple[Fingerprint, Sequence[str]]]) -> bool:
    """Design.md §5: an explicit yes at a terminal, when nobody gave a fingerprint or a keyring of one key."""
    return _ask(f"The catalogue of {catalogue.repository}", "the repository holds", signers)


def ask_collection(collection: Statement, signers: Sequence[tuple[Fingerprint, Sequence[str]]]) -> bool:
    """The same of a collection."""
    return _ask(f"The collection {collection.repository}", "is mirrored here", signers)


def _ask(what: str, says: str, signers: Sequence[tuple[Fingerprint, Sequence[str]]]) -> bool:
    if not sys.stdin.isatty():
        return False
    with _asking:  # repositories start side by side
        for primary, user_ids in signers:
            print(f"{what} is signed by {primary}", file=sys.stderr)
            for user_id in user_ids:
                print(f"    {user_id}", file=sys.stderr)
        question = f"Shall this key say what {says}, from now on? Type yes: "
        print(question, end="", file=sys.stderr, flush=True)
        return read_answer(sys.stdin.fileno()) == b"yes"


def read_answer(terminal: int) -> bytes:
    """The line that is typed at a terminal; the end of who waits for this thread, as by Ctrl-C, ends it, too.

    In a read nobody could end it, and what is typed next, to whichever program, would be taken for the answer.
    """
    while not select.select([terminal], [], [], _LOOK_S)[0]:
        with contextlib.suppress(RuntimeError):  # it is none of trio's threads, but the main one
            trio.from_thread.check_cancelled()
    return os.read(terminal, _ANSWER_BYTES).strip()


def may_ask(given: TrustGiven) -> TrustGiven:
    """Whom the options trust, and the user as the one to ask."""
    return replace(given, confirm=ask_first)


def tell_wait(source: Source) -> None:
    """At a terminal: that a new mirror's first question, to the DHT, may take long."""
    if isinstance(source.feed, DhtFeed) and not source.repository.exists() and sys.stderr.isatty():
        complain(f"looking for {source.text} in the DHT, for up to {FIRST_S:.0f} s")
