# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects whose faults a publisher accepts: ``$GIT_DIR/gtfs/accepted-faults``, written like git's fsck.skipList.

The next catalogue names them (gtfs-catalogue(5), Accepted-Faults), and mirrors accept exactly those. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gtfs.durable import replace_file
from gtfs.ids import BadId, ObjectId, parse_object_id
from gtfs.repo.repository import Repository
from gtfs.state.config import BadConfig


def read_skip_list(path: Path) -> list[ObjectId]:
    """The ids in a file, one a line; ``#`` begins a comment. Raises `BadConfig`, OSError."""
    oids = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word:
            try:
                oids.append(parse_object_id(word))
            except BadId as e:
                raise BadConfig(f"{path}, line {number}: {e}") from None
    return oids


def accepted_faults(repository: Repository) -> tuple[ObjectId, ...]:
    """What this publisher accepts, sorted; raises `BadConfig`, OSError."""
    path = repository.layout.accepted_faults
    return tuple(sorted(set(read_skip_list(path)))) if path.exists() else ()


def accept_faults(repository: Repository, oids: Iterable[ObjectId]) -> None:
    """Accept these objects, too. Raises `BadConfig`, OSError."""
    new = set(oids)
    for oid in new:
        if len(oid) != repository.fmt.oid_bytes:
            raise BadConfig(f"{oid.hex()} is no id of a {repository.fmt.name} repository")
    known = sorted(new.union(accepted_faults(repository)))
    replace_file(repository.layout.accepted_faults, "".join(f"{oid.hex()}\n" for oid in known).encode("ascii"))
