# SPDX-License-Identifier: GPL-3.0-or-later
"""Several publishers in one clone, each with a state of its own (design.md §12). Any thread.

That of the first lies in ``$GIT_DIR/gtfs``, unless the clone publishes itself. Any other one's lies in a repository
beside that, which has no refs and the clone's objects.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator

from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import sync_directory
from gtfs.feed import Feed, parse_feed
from gtfs.repo.repository import BadRepository, Repository, create_repository
from gtfs.repo.unpack import kept_marks, release
from gtfs.state.config import BadConfig, Config
from gtfs.state.lock import Lock
from gtfs.state.source import default_mirror


def state_of(clone: Repository, feed: Feed) -> Repository:
    """The repository whose state follows the feed, or is to be asked first whether it does."""
    for repository in (clone, *_others(clone)):
        config = Config(repository)
        if config.is_clone() and feed.text in config.get_all("source"):
            return repository
    return other(clone, feed) if Config(clone).sign_key() is not None else clone


def other(clone: Repository, feed: Feed) -> Repository:
    """Where the state of one more publisher will lie; nothing is made."""
    return Repository(default_mirror(feed, clone.layout.other_publishers), clone.fmt)


def make(clone: Repository, repository: Repository) -> None:
    """Make it if it is another than the clone's own; raises `BadRepository`, OSError."""
    if repository.path == clone.path:
        return
    if not repository.path.exists():
        try:
            create_repository(repository.path, repository.fmt)
        except BadRepository:
            if not repository.path.exists():  # else another git has made it
                raise
    if not repository.objects.is_symlink():
        shutil.rmtree(repository.objects, ignore_errors=True)
        with contextlib.suppress(FileExistsError):
            repository.objects.symlink_to(os.path.relpath(clone.objects, repository.path))


def is_same(one: Catalogue, two: Catalogue) -> bool:
    """Whether both are of one publisher's one repository, whichever is to be believed."""
    return one.repository == two.repository and not set(one.signers).isdisjoint(two.signers)


def set_aside(clone: Repository, keys: Collection[str]) -> None:
    """Make room for what is published from a clone: its state goes beside. Raises `BadConfig`, `Busy`, OSError.

    Nothing is done in what is no clone made by git, and refused in one whose publisher names one of these keys.
    """
    config = Config(clone)
    source = config.get("source")
    if not config.is_clone() or source is None:
        return
    with Lock(clone.layout.lock):
        held = CatalogueStore(clone.layout.catalogue).highest()
        if held is not None and not set(held.catalogue.signers).isdisjoint(keys):
            raise BadConfig(
                f"{clone.path} is a clone, and {held.catalogue.repository} is published by its signers from a mirror: "
                f"gtfs sync {source} --into DIR, then gtfs init DIR"
            )
        place = other(clone, parse_feed(source))
        make(clone, place)
        release(kept_marks(clone))  # nobody would know them as his
        clone.layout.root.rename(place.layout.root)
        sync_directory(place.path)  # first: no power cut may leave it in neither
        sync_directory(clone.path)


def _others(clone: Repository) -> Iterator[Repository]:
    directory = clone.layout.other_publishers
    if directory.is_dir():
        for path in sorted(directory.glob("*.git")):
            yield Repository(path, clone.fmt)
