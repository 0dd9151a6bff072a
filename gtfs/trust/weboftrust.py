# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of certifications from one's own keys to others: short ones, and several that share nobody. Pure; any thread.

Who certified whom is claimed first and verified only where a path would go, as a key may carry 10,000 certifications.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from typing import Final

from gtfs.ids import Fingerprint

STEPS: Final = 5  # of a path
PATHS: Final = 8  # that are looked for; more say no more
_ROUNDS: Final = 64  # of verifying; what is not verified then does not count

Edge = tuple[Fingerprint, Fingerprint]  # who certified, and whom
Path = tuple[Fingerprint, ...]


def find_path(
    certifiers: Mapping[Fingerprint, Collection[Fingerprint]],
    own: Collection[Fingerprint],
    target: Fingerprint,
    without: Collection[Edge | Fingerprint] = (),
) -> Path | None:
    """A shortest path from one of ``own`` to the target, of at most STEPS; None without one.

    ``certifiers`` are those of each key; ``without`` are keys and certifications that it may not use.
    """
    onward: dict[Fingerprint, Fingerprint | None] = {target: None}
    edge = [target]
    for _ in range(STEPS):
        following = []
        for key in edge:
            for certifier in sorted(certifiers.get(key, ())):
                if certifier in onward or certifier in without or (certifier, key) in without:
                    continue
                onward[certifier] = key
                if certifier in own:
                    return _walk(certifier, onward)
                following.append(certifier)
        edge = following
    return None


def _walk(first: Fingerprint, onward: Mapping[Fingerprint, Fingerprint | None]) -> Path:
    path = [first]
    while (after := onward[path[-1]]) is not None:
        path.append(after)
    return tuple(path)


def disjoint_paths(
    certifiers: Mapping[Fingerprint, Collection[Fingerprint]], own: Collection[Fingerprint], target: Fingerprint
) -> list[Path]:
    """Paths that have nobody in common but their ends, shortest first, at most PATHS.

    Each is the shortest that is left, so there may be more than are found: never fewer.
    """
    found: list[Path] = []
    without: set[Edge | Fingerprint] = set()
    while len(found) < PATHS and target not in own:
        path = find_path(certifiers, own, target, without)
        if path is None:
            break
        found.append(path)
        without.update(path[1:-1])
        if len(path) == 2:
            without.add((path[0], path[1]))
    return found


def verified_paths(
    claimed: Mapping[Fingerprint, Collection[Fingerprint]],
    own: Collection[Fingerprint],
    targets: Iterable[Fingerprint],
    verify: Callable[[Collection[Edge]], Collection[Edge]],
) -> dict[Fingerprint, list[Path]]:
    """For each target its disjoint paths on which each certification is good; ``verify`` picks these."""
    certifiers = {key: set(by) - {key} for key, by in claimed.items()}
    good: set[Edge] = set()
    paths: dict[Fingerprint, list[Path]] = {}
    left = list(dict.fromkeys(targets))
    for _ in range(_ROUNDS):
        for target in left:
            paths[target] = disjoint_paths(certifiers, own, target)
        asked = {edge for target in left for path in paths[target] for edge in _edges(path)} - good
        if not asked:
            return paths
        found = set(verify(asked)) & asked
        good |= found
        for certifier, key in asked - found:
            certifiers[key].discard(certifier)
        left = [t for t in left if any(edge not in good for path in paths[t] for edge in _edges(path))]
    known: dict[Fingerprint, set[Fingerprint]] = {}
    for certifier, key in good:
        known.setdefault(key, set()).add(certifier)
    return paths | {target: disjoint_paths(known, own, target) for target in left}


def _edges(path: Path) -> list[Edge]:
    return list(pairwise(path))
