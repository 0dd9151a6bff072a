# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init --collection``: a directory whose repositories, and a list of them, a daemon publishes."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from gtfs.cli.terminal import say, say_json
from gtfs.cli.work.collection import changed_settings, tell_daemon, write_settings
from gtfs.cli.work.unit import find_unit
from gtfs.collection.document import NAME_MARK
from gtfs.collection.places import CollectionPlaces
from gtfs.collection.publisher import NoCollection, PublisherSettings, init_collection, read_settings
from gtfs.collection.ready import settings_of_each, wanted_of
from gtfs.daemon.places import find_places
from gtfs.feed import LATEST
from gtfs.repo.gitsyntax import quoted
from gtfs.state.initialise import check_words
from gtfs.state.private import check_private

_USUAL: Final = "git"  # the name of a directory that says nothing of what is in it
_OWN: Final = frozenset({"name", "sign_key", "gnupg_home"})  # of the collection; the others are each repository's


def run_collection(
    directory: Path, given: dict[str, Any], url: str | None, *, dry_run: bool, as_json: bool = False
) -> None:
    """Set it up, with the key tried once, and have the daemon publish it."""
    if not directory.is_dir():
        raise NoCollection(f"{directory} is no directory of repositories; make it first")
    directory = directory.absolute()
    settings = _settings(directory, given, url)
    check_words(wanted_of(settings, "name", "name"))
    places = find_places(os.environ, is_root=os.geteuid() == 0)
    path = places.drop_ins / f"published-{settings.name}.conf"
    text = f"[collection {quoted(settings.name)}]\n\tpublish = {quoted(str(directory))}\n"
    told = False
    if not dry_run:
        init_collection(directory, settings)
        write_settings(places, path, text)
        told = tell_daemon(places)
    if as_json:
        say_json({**asdict(settings), "directory": str(directory), "file": str(path), "text": text, "told": told})
        return
    if dry_run:
        say(f"{directory} would publish the collection {settings.name}, and {path} say so to the daemon")
        return
    say(f"{directory} publishes the collection {settings.name}; {path} says so to the daemon")
    if not told:
        unit = find_unit(places, os.environ)
        how = "" if unit is None else f" ({unit.how()})"
        by_hand = f"gtfs collection publish --repositories {directory}"
        say(f"no daemon answers; start one with gtfs seed{how}, or publish once by hand: {by_hand}")


def _settings(directory: Path, given: dict[str, Any], url: str | None) -> PublisherSettings:
    """What is given over what is there; where nothing is, the collection is called as its directory."""
    check_private(CollectionPlaces.of_publisher(directory).layout.root)  # somebody else's settings are not looked at
    try:
        before: PublisherSettings | None = read_settings(directory)
    except NoCollection:
        before = None
    name = given["name"] or (None if before is not None else _name_of(directory))
    of_list: dict[str, Any] = dict.fromkeys(("feeds", "include", "exclude", "out"))
    site = given["feed_dir"]  # what a web server shows: the list, and below it a feed directory of each
    if site:
        of_list["out"], given = Path(site), {**given, "feed_dir": f"{site}/{NAME_MARK}"}
    own = {**of_list, **{key: given[key] for key in (*_OWN, "valid_days")}, "name": name, "url": url}
    settings = changed_settings(directory, own)
    each = settings_of_each({key: value for key, value in given.items() if key not in _OWN})
    settings = replace(settings, repositories={**(settings.repositories or {}), **each})
    if settings.out is not None and (url is not None or site):
        top = Path(settings.out).as_uri() if url is None else url.rstrip("/")
        settings = replace(settings, feeds=(f"{top}/{NAME_MARK}/{LATEST}",))
    return settings


def _name_of(directory: Path) -> str:
    words = [word for word in directory.parts[1:] if word != _USUAL]
    return re.sub(r"[^A-Za-z0-9._+-]", "-", words[-1]).lstrip("._+-") if words else ""
