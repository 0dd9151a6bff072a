# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs collection``: what of it needs more than the command line."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import trio

from gtfs.cli.nodeoptions import check_own
from gtfs.cli.work.configured import CHECK
from gtfs.cli.work.publisheach import publish_each
from gtfs.cli.work.running import ask_collection
from gtfs.collection.believed import BelievedCollection, rewind_kept
from gtfs.collection.describe import describe_kept
from gtfs.collection.followed import NotFollowed
from gtfs.collection.manifest import read_manifest
from gtfs.collection.places import CollectionPlaces
from gtfs.collection.publisher import (
    NoCollection,
    PublisherSettings,
    default_feeds,
    held_collection,
    init_collection,
    publish_collection,
    read_settings,
)
from gtfs.collection.record import approve, read_record
from gtfs.collection.wanted import BadRepositoryName, check_name
from gtfs.daemon.asking import NoDaemon, ask_daemon, places_to_ask
from gtfs.daemon.mirrored import write_drop_in
from gtfs.daemon.places import Places, find_places
from gtfs.errors import Blame, GtfsError
from gtfs.feed import BadFeed, DhtFeed, parse_feed
from gtfs.ids import parse_fingerprint
from gtfs.node.opening import bring_first
from gtfs.node.options import NodeOptions
from gtfs.repo.gitsyntax import quoted
from gtfs.state.lock import Busy, Lock
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.options import SwarmOptions


class DaemonBusy(GtfsError):
    """A daemon runs that does not answer yet, or any more."""

    fault = Blame.BUSY


def run_init(directory: Path, given: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """New settings over those that are there."""
    settings = changed_settings(directory, given)
    if not dry_run:
        init_collection(directory, settings)
    return {**asdict(settings), "directory": str(directory)}


def changed_settings(directory: Path, given: dict[str, Any]) -> PublisherSettings:
    """What is given over what is there; raises `NoCollection`, `BadId`, OSError."""
    try:
        known: PublisherSettings | None = read_settings(directory)
    except NoCollection:
        known = None
    if known is None and not (given["name"] and given["sign_key"]):
        raise NoCollection(f"{directory} is no collection yet: give --name NAME and --sign-key FINGERPRINT")
    settings = known or PublisherSettings(
        given["name"], parse_fingerprint(given["sign_key"]), feeds=default_feeds(directory, None)
    )
    changes: dict[str, Any] = {
        key: given[key] for key in ("name", "valid_days", "threshold") if given.get(key) is not None
    }
    changes |= {key: tuple(given[key]) for key in ("feeds", "include", "exclude") if given[key]}
    changes |= {key: str(given[key].absolute()) for key in ("gnupg_home", "out") if given[key] is not None}
    if given["sign_key"] is not None:
        changes["sign_key"] = parse_fingerprint(given["sign_key"])
    if given.get("signers"):
        changes["signers"] = tuple(map(parse_fingerprint, given["signers"]))
    if given["url"] is not None:
        changes["feeds"] = default_feeds(directory, given["url"])
    return replace(settings, **changes)


def run_publish(directory: Path, *, force: bool, repositories: bool, dry_run: bool) -> dict[str, Any]:
    """See `publish_collection`; with ``repositories``, each of them before, and what hindered one is told."""
    troubles = publish_each(directory) if repositories and not dry_run else {}
    done = publish_collection(directory, force=force, dry_run=dry_run).describe()
    left_out = {name: troubles.get(name, why) for name, why in done["left_out"].items()}
    return {
        **done,
        "left_out": left_out,
        "not_published": {name: why for name, why in troubles.items() if name not in left_out},
    }


def run_follow(source: str, given: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """Judge the list as it is now, and write what the daemon is to follow."""
    if os.path.lexists(source):
        source = os.path.abspath(source)  # noqa: PTH100  a link stays one
    check_own(given["options"])
    feed = parse_feed(source)
    if isinstance(feed, DhtFeed):
        raise BadFeed(source, "a collection is followed from a file or a web server")
    document = trio.run(bring_first, feed, NodeOptions(offline=True, swarm=SwarmOptions(dht=False, lsd=False)), None)
    ring = b""
    trust = TrustGiven(
        keyrings=tuple(path.absolute() for path in given["keyrings"]),
        signers=tuple(map(parse_fingerprint, given["signers"])),
        confirm=ask_collection,
    )
    if given["manifest"]:
        own_name, count = "", len(read_manifest(document))
    else:
        with tempfile.TemporaryDirectory(prefix="gtfs-") as directory:
            places = CollectionPlaces(Path(directory))
            believed = BelievedCollection(places, given["name"] or source, trust)
            believed.take(document)
            assert believed.held is not None
            own_name, count = believed.held.catalogue.repository, len(believed.held.catalogue.entries)
            if not trust.keyrings:  # it came from the user's GnuPG, which the daemon does not have
                ring = places.layout.keyring.read_bytes()
            if not trust.signers:
                trust = replace(trust, signers=tuple(s.primary for s in believed.held.signatures))
    name = _name(given["name"] or own_name)
    places_there = find_places(os.environ, is_root=os.geteuid() == 0, config=given["config"])
    path = places_there.drop_ins / f"collection-{name}.conf"
    ring_path = path.with_suffix(".gpg")
    if ring:
        trust = replace(trust, keyrings=(ring_path,))
    text = _drop_in(name, source, trust, given)
    done = {"name": name, "file": str(path), "text": text, "repositories": count, "told": False}
    if not dry_run:
        write_settings(places_there, path, text, ring or None)
        done["told"] = tell_daemon(places_there)
    return done


def write_settings(places: Places, path: Path, text: str, ring: bytes | None = None) -> None:
    """See `write_drop_in`."""
    write_drop_in(places, CHECK, path, text, ring)


def _name(text: str) -> str:
    try:
        name = check_name(text)
    except BadRepositoryName as error:
        raise NotFollowed(f"give --name NAME: {error}") from None
    if "/" in name:
        raise NotFollowed("--name: it is one word, without /")
    return name


def _drop_in(name: str, source: str, trust: TrustGiven, given: dict[str, Any]) -> str:
    directory = given["directory"]
    rows = [
        ("manifest" if given["manifest"] else "source", [source]),
        ("feed", [given["feed"]] if given["feed"] else []),
        ("keyring", trust.keyrings),
        ("signer", trust.signers),
        ("include", given["include"]),
        ("exclude", given["exclude"]),
        ("directory", [directory.absolute()] if directory is not None else []),
        ("gone", [given["gone"]] if given["gone"] else []),
        ("options", given["options"]),
    ]
    lines = [f"\t{key} = {quoted(str(value))}\n" for key, values in rows for value in values]
    return f"[collection {quoted(name)}]\n" + "".join(lines)


def tell_daemon(places: Places) -> bool:
    """Have a running daemon read its configuration again; whether there is one."""
    try:
        ask_daemon([places], {"do": "reread"})
    except NoDaemon:
        return False
    return True


def run_list(what: str | None) -> dict[str, Any]:
    """What the daemon says, where none answers what is on disk; or a publisher's own."""
    if what is not None and Path(what).is_dir():
        held = held_collection(Path(what))
        if held is None:
            raise NoCollection(f"{what} has published nothing yet; run: gtfs collection publish {what}")
        return {
            "collections": [],
            "collection": held.catalogue.repository,
            "version": held.catalogue.version,
            "entries": [
                {
                    "name": entry.name, "repository": entry.repository, "version": entry.version, "date": entry.date_s,
                    "keys": list(entry.signing.keys), "threshold": entry.signing.threshold,
                    "feeds": list(entry.feeds), "reel": entry.reel,
                    "head": None if entry.head is None else os.fsdecode(entry.head), "description": entry.description,
                }
                for entry in held.catalogue.entries
            ],
        }  # fmt: skip
    found = _followed()
    if what is not None:
        every = [item["name"] for item in found]
        found = [item for item in found if item["name"] == what]
        if not found:
            raise _not_followed(what, every)
    return {"collections": found}


def _followed() -> list[dict[str, Any]]:
    asked = places_to_ask(os.environ, is_root=os.geteuid() == 0)
    try:
        found: list[dict[str, Any]] = ask_daemon(asked, {"do": "list"})["collections"]
    except NoDaemon:
        found = []
        for places in asked:
            if _is_open(places):
                roots = sorted(path for path in places.collections.iterdir() if path.is_dir())
                found += [describe_kept(root.name, CollectionPlaces(root)) for root in roots]
    return found


def _is_open(places: Places) -> bool:
    return places.collections.is_dir() and os.access(places.collections, os.R_OK | os.X_OK)


def _not_followed(name: str, followed: Sequence[str]) -> NotFollowed:
    near = difflib.get_close_matches(name, followed, 1)
    hint = f"did you mean {near[0]}?" if near else "gtfs collection list names them all"
    return NotFollowed(f"no collection {name!a} is followed here; {hint}")


def _place_of(name: str) -> Places:
    """Of the daemon that follows it, or did; raises `NotFollowed`."""
    asked = places_to_ask(os.environ, is_root=os.geteuid() == 0)
    there = next((p for p in asked if p.collection(_name(name)).is_dir()), None)
    if there is None:
        raise _not_followed(name, [root.name for p in asked if _is_open(p) for root in p.collections.iterdir()])
    return there


def run_rewind(name: str, version: int, *, dry_run: bool) -> dict[str, Any]:
    """By the daemon; where none runs, here, and none begins meanwhile."""
    there = _place_of(name)
    request: dict[str, object] = {"do": "rewind", "name": name, "version": version, "dry_run": dry_run}
    try:
        return ask_daemon([there], request)
    except NoDaemon:
        places = CollectionPlaces(there.collection(name))
        if dry_run:
            return rewind_kept(places, name, version, dry_run=True)
    try:
        with Lock(there.lock):
            return rewind_kept(places, name, version, dry_run=False)
    except Busy:
        raise DaemonBusy(f"the daemon of {there.data} begins or ends just now; try again") from None


def run_prune(name: str, repositories: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Write a person's yes for the daemon to see."""
    there = _place_of(name)
    places = CollectionPlaces(there.collection(name))
    mirrors = read_record(places.mirrors).mirrors
    absent = sorted(n for n, mirror in mirrors.items() if mirror.absent_s is not None)
    for repository in repositories:
        if repository not in absent:
            why = "is listed still" if repository in mirrors else "is not followed"
            raise NotFollowed(f"{repository} {why}; only what left the list may go")
    chosen = sorted(set(repositories)) or absent
    told = False
    if chosen and not dry_run:
        approve(places.approved, chosen)
        told = tell_daemon(there)
    return {"name": name, "approved": chosen, "told": told}
