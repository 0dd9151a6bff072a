# SPDX-License-Identifier: GPL-3.0-or-later
"""What one may go back to behind a thief's statements, and what is not taken again then (design.md §5). Any thread.

`StatementStore.go_back` does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gtfs.catalogue.accept import Believed, CatalogueRefused, S
from gtfs.catalogue.document import digest
from gtfs.catalogue.statementstore import StatementStore
from gtfs.errors import Blame, GtfsError
from gtfs.trust.verify import split_clearsigned


class NoSuchVersion(GtfsError):
    """A version that was never accepted, or is not below the held one."""

    fault = Blame.USAGE


class SetAside(CatalogueRefused):
    """A statement that the owner of this node, or a revoked key, has taken back."""


def check_version(store: StatementStore[S], held: Believed[S] | None, version: int) -> None:
    """Whether one can go back to it; raises `NoSuchVersion`."""
    versions = store.versions()
    if held is None or version >= held.catalogue.version or version not in versions:
        raise NoSuchVersion(f"version {version}: what this node can go back to is {spans(versions[:-1]) or 'nothing'}")


def spans(versions: Iterable[int]) -> str:
    """Ascending versions in few words: "1, 17, 40 to 139"."""
    found: list[list[int]] = []
    for version in versions:
        if found and found[-1][1] == version - 1:
            found[-1][1] = version
        else:
            found.append([version, version])
    return ", ".join(str(a) if a == b else f"{a} to {b}" if b - a > 1 else f"{a}, {b}" for a, b in found)


def describe_back(store: StatementStore[S], version: int, *, dry_run: bool) -> dict[str, Any]:
    """What is told of going back to a version; with ``dry_run`` before it is done. Raises `DamagedStore`."""
    if dry_run:
        files = [str(store.directory / f"{above}.asc") for above in store.versions() if above > version]
    else:
        files = sorted(map(str, store.set_aside()))
    return {"version": version, "digest": store.load(version).digest, "files": files}


def refuse_set_aside(store: StatementStore[S], document: bytes, command: str) -> None:
    """Raise `SetAside` for what was taken back; ``command`` is the one that does it by hand."""
    its = digest(split_clearsigned(document)[0])
    for path in store.set_aside():
        _, version, its_digest = path.stem.split("-")
        if its_digest == its:
            raise SetAside(f"version {version} was taken back here, see {command}")
