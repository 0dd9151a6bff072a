# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the repository has an object, without a process: dulwich's pack indexes and loose files. One thread."""

from __future__ import annotations

from types import TracebackType

from dulwich.object_format import OBJECT_FORMATS
from dulwich.object_store import DiskObjectStore

from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository


class KnownObjects:
    """Membership in the object store; packs that git adds meanwhile are noticed. A context manager."""

    def __init__(self, repository: Repository) -> None:
        self._store = DiskObjectStore(str(repository.objects), object_format=OBJECT_FORMATS[repository.fmt.name])

    def __contains__(self, oid: ObjectId) -> bool:
        return oid.hex().encode() in self._store

    def __enter__(self) -> KnownObjects:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._store.close()
