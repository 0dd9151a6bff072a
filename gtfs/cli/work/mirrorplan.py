# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gtfs mirror`` is to do: where, by whom it will be run, and what is configured already. Nothing is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from gtfs.cli.nodeoptions import Said, check_own, parse
from gtfs.cli.source import source_at
from gtfs.cli.work.configured import configured
from gtfs.cli.work.unit import Unit, find_unit
from gtfs.collection.document import looks_like_collection
from gtfs.collection.wanted import check_name
from gtfs.daemon.added import default_name
from gtfs.daemon.asking import NoDaemon, ask_daemon
from gtfs.daemon.conf import Configuration
from gtfs.daemon.mirrored import (
    ConfiguredMirror,
    NotMirrored,
    configured_at,
    default_directory,
    drop_in,
    find_configured,
    same_source,
)
from gtfs.daemon.places import Places
from gtfs.feed import DhtFeed, FileFeed, parse_feed
from gtfs.ids import SHA1
from gtfs.mount.options import escape_value
from gtfs.node.opening import bring_first
from gtfs.repo.place import git_dir_at
from gtfs.repo.repository import BadRepository, Repository
from gtfs.state.config import Config
from gtfs.state.mirrorsettings import check_push_url
from gtfs.state.source import Source
from gtfs.state.worktrees import Worktree, parse_worktree

_COLLECTION = "collection.asc"  # in its publisher's directory


@dataclass(frozen=True)
class MirrorPlan:
    """What is to be done, by whom: ``before`` is what is configured already, ``source`` None for a collection."""

    given: dict[str, Any]
    text: str  # of the SOURCE
    name: str
    directory: Path | None  # None: where the daemon makes a collection's mirrors
    before: ConfiguredMirror | None
    source: Source | None
    places: Places
    configuration: Configuration
    is_running: bool
    unit: Unit | None  # to be enabled
    how: str | None  # what a person is to do where nothing runs the mirror
    is_ours: bool  # whether the daemon is, or will be, this user's

    @property
    def by_daemon(self) -> bool:
        """Whether one runs, or will at once."""
        return self.is_running or self.unit is not None

    @property
    def file(self) -> Path:
        """The drop-in that says it."""
        kind = "collection" if self.source is None else "mirror"
        return (
            drop_in(self.places, self.name) if kind == "mirror" else self.places.drop_ins / f"{kind}-{self.name}.conf"
        )

    def said(self) -> Said:
        """The process's options, the mirror's, and whom to believe."""
        trust = [f"keyring={escape_value(str(path.absolute()))}" for path in self.given["keyrings"]]
        trust += [f"signer={key}" for key in self.given["signers"]]
        return parse([*self.configuration.options, *self.given["options"], *trust])


def plan_mirror(text: str, directory: Path | None, given: dict[str, Any]) -> MirrorPlan:
    """See the module; raises a `GtfsError`, OSError."""
    check_own(given["options"])
    if given["push_url"] is not None:
        check_push_url(given["push_url"])
    for worktree in given["worktrees"]:
        absolute_worktree(worktree)
    places, configuration = configured(given["config"])
    is_running = _is_running(places)
    unit = None if is_running or given["config"] is not None else find_unit(places, os.environ)
    uid = places.control.stat().st_uid if is_running else unit.uid if unit else os.geteuid()
    how = None
    if not is_running and (unit is None or given["no_enable"]):
        config = f" --config {given['config']}" if given["config"] else ""
        start = unit.how() if unit else f"gtfs seed{config} (and after each start of the machine)"
        how, unit = f"no daemon runs to follow it; start one: {start}", None
    if os.path.lexists(text):
        text = os.path.abspath(text)  # noqa: PTH100  a link stays one
        if Path(text, _COLLECTION).is_file() and not Path(text, "objects").exists():
            text = str(Path(text, _COLLECTION))
    found = find_configured(places, configuration)
    if directory is not None:
        directory = directory.absolute()
        before = configured_at(found, text, directory)
    else:
        before = next((mirror for mirror in found if same_source(mirror.source, text)), None)
        directory = None if before is None else before.directory
    is_collection = before.is_collection if before else _is_collection(text, configuration)
    name = before.name if before else given["name"] or (directory.name if directory else "")
    source: Source | None = None
    if not is_collection:
        if directory is None:
            mirrors = None if uid == os.geteuid() else configuration.mirrors
            directory = default_directory(mirrors, given["name"] or default_name(text))
            before = configured_at(found, text, directory)
        name = before.name if before else check_name((given["name"] or directory.name).removesuffix(".git"))
        source = source_at(text, directory)
        if source.feed is None:
            raise NotMirrored(f"{text} is a repository; give its publisher's catalogue, {text}/gtfs/catalogue")
        _check_new(name, directory, found, before, text)
    if before is not None and (given["name"] or before.name).removesuffix(".git") != before.name.removesuffix(".git"):
        raise NotMirrored(f"{before.directory} is called {before.name} in {before.origin}; give it another name there")
    if uid != os.geteuid() and how is not None and (given["push_url"] is not None or given["worktrees"]):
        raise NotMirrored(f"--push-url and --worktree are for the daemon to set, and {how}")
    return MirrorPlan(
        given, text if source is None else source.text, name, directory, before, source, places, configuration,
        is_running, unit, how, uid == os.geteuid(),
    )  # fmt: skip


def _is_running(places: Places) -> bool:
    """Whether a daemon answers there; raises `NotMirrored` for one with another gtfs.conf."""
    try:
        reads = ask_daemon([places], {"do": "list"})["configuration"]
    except NoDaemon:
        return False
    if reads != str(places.config):
        raise NotMirrored(f"the daemon that runs reads {reads}; give --config {reads}")
    return True


def _is_collection(text: str, configuration: Configuration) -> bool:
    feed = parse_feed(text)
    if isinstance(feed, FileFeed) and feed.path == Path(text) and not feed.path.exists():
        raise BadRepository(f"{text} does not exist; give a publisher's catalogue, a collection's list or a URL")
    if isinstance(feed, DhtFeed) or (isinstance(feed, FileFeed) and feed.path.is_dir()):
        return False
    options = replace(parse(configuration.options).node, offline=True)
    return looks_like_collection(trio.run(bring_first, feed, options, None))


def _check_new(
    name: str, directory: Path, found: list[ConfiguredMirror], before: ConfiguredMirror | None, text: str
) -> None:
    """Raise `NotMirrored` for a name, or a directory on disk, that is something else's."""
    if "/" in name:
        raise NotMirrored(f"--name {name}: it is one word, without /")
    other = next((mirror for mirror in found if mirror.name == name and mirror != before), None)
    if other is not None and not other.is_collection:
        raise NotMirrored(f"{name} is the name of {other.source} of {other.origin}; give another, --name")
    try:
        _check_place(directory)
        config = Config(Repository(git_dir_at(directory), SHA1))
    except PermissionError:  # the daemon's user's, who looks himself
        return
    sources = config.get_all("source")
    if sources and not any(same_source(source, text) for source in sources):
        raise NotMirrored(
            f"{directory} is a mirror of {sources[0]}; give another DIR, or move it away. If {text} is another address "
            f"of the same: git config --file {config.path} --add gtfs.source {text}"
        )
    if config.sign_key() is not None and not sources:
        raise NotMirrored(f"{directory} is a publisher's own repository; give another DIR")


def _check_place(directory: Path) -> None:
    """Raise `NotMirrored` for what is there and can become no mirror; PermissionError where it is not ours to see."""
    if not directory.exists() or Path(git_dir_at(directory), "objects").is_dir():
        return
    if not directory.is_dir() or any(directory.iterdir()):
        raise NotMirrored(f"{directory} is there, and no repository; give another DIR, or move it away")
    if os.path.ismount(directory):
        raise NotMirrored(f"{directory} has a file system mounted on it; give a directory in it as DIR")


def absolute_worktree(text: str) -> Worktree:
    """One as it was typed, from the current directory; raises `BadConfig`."""
    return parse_worktree(os.path.abspath(text))  # noqa: PTH100  what is behind the @ stays
