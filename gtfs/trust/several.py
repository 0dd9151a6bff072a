# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of many commits and tags: as many runs of gpgv at a time as there are processors.

A run is nearly all the start of a process, in which Python has no part. May be called from any thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

from gtfs.ids import Fingerprint, ObjectId
from gtfs.trust.gpgv import FoundSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import PolicyRefused, find_signature

Kind = Literal["commit", "tag"]
AT_ONCE: Final = len(os.sched_getaffinity(0)) + 1  # one more, as each begins and ends with Python's own work
AHEAD: Final = 2 * AT_ONCE  # objects that wait in memory for their turn


class SignedRaw(NamedTuple):
    """A commit or tag object."""

    oid: ObjectId
    kind: Kind
    raw: bytes


class Search:
    """The search for one object's signature, by the keys ``allowed`` of a ring (None: see `find_signature`)."""

    def __init__(self, signed: SignedRaw, keyring: Keyring, allowed: frozenset[Fingerprint] | None) -> None:
        self._signed = signed
        self._keyring = keyring
        self._allowed = allowed
        self._future: Future[FoundSignature | PolicyRefused] | None = None

    def is_by(self, keyring: Keyring, allowed: frozenset[Fingerprint] | None) -> bool:
        """Whether its result is what these find."""
        return keyring is self._keyring and allowed == self._allowed

    def start(self, pool: Executor) -> None:
        """Let another thread search."""
        self._future = pool.submit(self.find)

    def find(self) -> FoundSignature | PolicyRefused:
        """Search here and now; raises `GpgvFailed`."""
        signed = self._signed
        try:
            return find_signature(signed.raw, signed.kind, self._keyring, self._allowed, now_s=int(time.time()))
        except PolicyRefused as error:
            return error

    def result(self) -> FoundSignature | PolicyRefused:
        """What was found, waited for; raises `GpgvFailed`."""
        return self.find() if self._future is None else self._future.result()


def find_signatures(
    objects: Iterable[SignedRaw], keyring: Keyring, allowed: frozenset[Fingerprint] | None
) -> Iterator[tuple[ObjectId, FoundSignature | PolicyRefused]]:
    """What `find_signature` says of each, in order; the objects are taken as they are needed. Raises `GpgvFailed`."""
    pending: deque[tuple[ObjectId, Search]] = deque()
    with open_pool() as pool:
        for signed in objects:
            pending.append((signed.oid, Search(signed, keyring, allowed)))
            pending[-1][1].start(pool)
            if len(pending) >= AHEAD:
                oid, search = pending.popleft()
                yield oid, search.result()
        while pending:
            oid, search = pending.popleft()
            yield oid, search.result()


@contextmanager
def open_pool() -> Iterator[Executor]:
    """Threads for as many searches as there can be at a time; what has not begun at the end is given up."""
    with ThreadPoolExecutor(AT_ONCE, "gtfs-gpgv") as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
