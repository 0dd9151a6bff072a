# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of many commits and tags: as many runs of gpgv at a time as there are processors.

A run is nearly all the start of a process, in which Python has no part. May be called from any thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple

from gtfs.ids import Fingerprint, ObjectId
from gtfs.trust.gpgv import FoundSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import PolicyRefused, find_signature

Kind = Literal["commit", "tag"]


class SignedRaw(NamedTuple):
    """A commit or tag object."""

    oid: ObjectId
    kind: Kind
    raw: bytes


def find_signatures(
    objects: Iterable[SignedRaw], keyring: Keyring, allowed: frozenset[Fingerprint] | None
) -> Iterator[tuple[ObjectId, FoundSignature | PolicyRefused]]:
    """What `find_signature` says of each, in order; the objects are taken as they are needed. Raises `GpgvFailed`."""
    at_once = len(os.sched_getaffinity(0)) + 1  # one more, as each begins and ends with Python's own work
    pending: deque[tuple[ObjectId, Future[FoundSignature | PolicyRefused]]] = deque()

    def find(signed: SignedRaw) -> FoundSignature | PolicyRefused:
        try:
            return find_signature(signed.raw, signed.kind, keyring, allowed, now_s=int(time.time()))
        except PolicyRefused as error:
            return error

    with ThreadPoolExecutor(at_once, "gtfs-gpgv") as pool:
        try:
            for signed in objects:
                pending.append((signed.oid, pool.submit(find, signed)))
                if len(pending) >= 2 * at_once:  # no more objects in memory than that
                    oid, future = pending.popleft()
                    yield oid, future.result()
            while pending:
                oid, future = pending.popleft()
                yield oid, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
