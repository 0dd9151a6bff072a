# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of a node would do, without doing it: nothing below the repository is written. Any thread.

The rules are those of the change itself, and so are the errors; what a publish would do is `foretell`'s.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.goback import check_version, describe_back
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.state.initialise import Wanted, foretell_wanted
from gtfs.state.keytree import read_key_tree
from gtfs.state.rewind import check_withdrawal
from gtfs.state.ring import asked_keys, check_removal, describe_added, describe_removed, refused_refs
from gtfs.state.ringfollow import held_commit, ring_source
from gtfs.state.state import State
from gtfs.trust.keyfiles import pick, read_key_files
from gtfs.trust.keyring import Keyring, freeze
from gtfs.trust.publickey import PublicKey


class NothingToForetell(GtfsError):
    """A change of which nobody here can say what it would do."""

    fault = Blame.USAGE


def answer_dry_run(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the answer to ``request`` would be; raises `NothingToForetell`, and what the change itself does."""
    found = _FORETELL.get(str(request.get("do")))
    if found is None:
        raise NothingToForetell(f"there is no dry run of {request.get('do')!r}")
    return found(state, request)


def _rewind(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    version = int(request["version"])
    if request.get("withdrawn") is True:
        check_version(state.catalogues, state.held, version)
    else:
        check_withdrawal(state, version)
    return describe_back(state.catalogues, version, dry_run=True)


def _init(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    return foretell_wanted(state, Wanted.from_json(request["wanted"]))


def _trust(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    verb, keys = request.get("verb"), asked_keys(request)
    if verb == "add":
        return _add(state, [Path(name) for name in request.get("files") or ()], keys)
    if verb == "remove":
        return _remove(state, keys, force=request.get("force") is True)
    if verb == "follow":
        return _follow(state, Path(str(request.get("repository"))), request.get("ref"), request.get("paths") or ())
    raise NothingToForetell(f"there is no dry run of trust {verb!r}")


def _add(state: State, files: Sequence[Path], only: Collection[Fingerprint]) -> dict[str, Any]:
    found = read_key_files(files)
    keys = pick(found.keys, only) if only else found.keys
    before = state.keyring
    here = before.primaries if before is not None else frozenset()
    left = state.layout.left_keys  # nothing leaves, so that it is only read
    return describe_added(before, _frozen(keys, before, here, left), keys, found.left_out)


def _remove(state: State, wanted: Collection[Fingerprint], *, force: bool) -> dict[str, Any]:
    ring = state.keyring
    gone, left = check_removal(state, wanted, force=force)
    frozen = _frozen(left, ring, (), None)
    frozen = dataclasses.replace(frozen, named_only=frozenset() if ring is None else ring.named_only & left.keys())
    return describe_removed(frozen, gone, refused_refs(state, frozen))


def _follow(state: State, repository: Path, ref: str | None, paths: Sequence[str]) -> dict[str, Any]:
    opened, source = ring_source(state, repository, ref, paths)
    oid = held_commit(opened, source.ref)
    found = read_key_tree(opened, oid, source.paths)
    before = state.keyring
    ring = _frozen(found.keys, before, before.primaries if before is not None else (), None)
    return {
        **source.describe(),
        "commit": oid.hex(),
        "trouble": None,
        "left_out": found.left_out,
        "keys": len(found.keys),
        "changed": before is None or ring.digest != before.digest,
    }


def _frozen(
    keys: Mapping[Fingerprint, PublicKey], before: Keyring | None, stay: Collection[Fingerprint], left: Path | None
) -> Keyring:
    with tempfile.TemporaryDirectory(prefix="gtfs-dry-run-") as there:
        return freeze(keys, Path(there, "keyring"), before=before, stay=stay, left=left)


_FORETELL: Final[Mapping[str, Callable[[State, Mapping[str, Any]], dict[str, Any]]]] = {
    "rewind": _rewind,
    "init": _init,
    "trust": _trust,
}
