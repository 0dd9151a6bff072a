# SPDX-License-Identifier: GPL-3.0-or-later
"""Back behind catalogues that nobody shall believe any more, and what stands beside the held one (design.md §5).

Synchronous, under the node's lock.
"""

from __future__ import annotations

from typing import Any

from gtfs.catalogue.accept import Held
from gtfs.catalogue.goback import check_version, describe_back, spans
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.state.state import State


class BehindWithdrawal(GtfsError):
    """A version that lists what its publisher withdrew since."""

    fault = Blame.USAGE


def go_back(state: State, version: int) -> Held:
    """Hold an accepted version again, and set those above it aside. Raises `NoSuchVersion`, `DamagedStore`, OSError.

    No ref goes back by it: where the version has one elsewhere, that is a move as any other. But where only those above
    had a ref counts for nothing any more, so that who puts it back by hand finds it there.
    """
    check_version(state.catalogues, state.held, version)
    _forget_places(state, version)  # first: after a crash between, it stands where the catalogue still has it
    behind = state.catalogues.go_back(version)
    state.hold(behind)
    return behind


def check_withdrawal(state: State, version: int) -> None:
    """Whether nothing was withdrawn after it; raises `NoSuchVersion`, `BehindWithdrawal`, `DamagedStore`.

    What a catalogue lists is given to others and fetched from them again, and a law may have taken it away.
    """
    check_version(state.catalogues, state.held, version)
    versions = [v for v in state.catalogues.versions() if v >= version]
    pruned = [state.catalogues.load(v).catalogue.pruned or 0 for v in versions]
    if max(pruned) <= pruned[0]:
        return
    last = max(pruned)
    good = spans(v for v, its in zip(versions[:-1], pruned, strict=False) if its == last)
    instead = f"go back to {good}" if good else "no version that was kept is behind it and has that"
    raise BehindWithdrawal(
        f"version {version} lists what version {last} withdrew, and would bring it back: {instead}; only if the "
        "publisher says that it withdrew nothing, but a thief did: --withdrawn"
    )


def _forget_places(state: State, version: int) -> None:
    """Let refs count as held where this version has them, if they were where the ones above have them."""
    behind = state.catalogues.load(version).catalogue.refs
    held = state.index.refs.held()
    put: dict[bytes, ObjectId] = {}
    for above in (v for v in state.catalogues.versions() if v > version):
        refs = state.catalogues.load(above).catalogue.refs
        put |= {name: oid for name, oid in behind.items() if name in held and refs.get(name) == held[name]}
    state.index.refs.change(put)


def rewind(state: State, version: int, *, withdrawn: bool = False) -> dict[str, Any]:
    """The same, and what `gtfs rewind` shows; behind a withdrawal only if that is ``withdrawn``, too."""
    if not withdrawn:
        check_withdrawal(state, version)
    go_back(state, version)
    return describe_back(state.catalogues, version, dry_run=False)


def describe_races(state: State) -> list[dict[str, Any]]:
    """What other signers published beside the held catalogue."""
    return [{"version": race.version, "digest": race.digest} for race in state.races]
