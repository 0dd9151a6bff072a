# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository's status answer comes down to: the one judgement that all overviews show. Pure; any thread.

The answer is that of gtfs(1) under JSON, from a running node or from the disk, and from any version: keys that an older
one does not have are done without. It names no address of a peer, and of paths of this machine the last name alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal

from gtfs.overview.plain import plain, span_text, without_private
from gtfs.overview.troubles import TroubleKind, each_trouble

Standing = Literal["fresh", "lagging", "stale", "equivocated", "damaged", "unreachable", "empty"]

STANDINGS: Final[Mapping[Standing, str]] = {  # the worst first
    "damaged": "something that it needs is damaged on this disk",
    "equivocated": "two different statements were signed where there may be one",
    "stale": "its catalogue is past the time until which it counts: refs move no more",
    "unreachable": "it could not be asked",
    "empty": "it holds no catalogue, so there is nothing to be fresh",
    "lagging": "it holds a catalogue that counts, and is behind it, or has not heard from where newer ones come",
    "fresh": "its refs are where a catalogue says that counts, and newer ones would be heard of",
}
EXIT_CODES: Final[Mapping[Standing, int]] = {
    "fresh": 0, "lagging": 1, "stale": 2, "equivocated": 2, "damaged": 2, "unreachable": 3, "empty": 3,
}  # fmt: skip
_ORDER: Final = list(STANDINGS)
STANDING_OF: Final[Mapping[TroubleKind, Standing]] = {  # what a kind of trouble makes of a repository
    "damaged": "damaged", "equivocation": "equivocated", "stale": "stale", "disk-full": "lagging",
    "not-taken-in": "lagging", "not-published": "lagging", "hook-failed": "fresh",
    "worktree-behind": "lagging", "feed-not-written": "lagging",
}  # fmt: skip
_WORDS_OF: Final[Mapping[TroubleKind, str]] = {
    "not-taken-in": "what was written is not taken in: ",
    "not-published": "publishing failed, and is tried again: ",
    "hook-failed": "a hook failed: ",
    "feed-not-written": "the feed directory is not written: ",
}
_SHOWN: Final = 100  # refs held back, and refused files, that are told one by one


@dataclass(frozen=True)
class Thresholds:
    """From when on a repository lags; seconds, None is never. The only place of the defaults."""

    max_lag_s: float | None = 3600.0  # that refs are behind the held catalogue
    max_silence_s: float | None = 86400.0  # since a feed answered last
    max_age_s: float | None = None  # since the held catalogue was signed: only its publisher's habits tell


@dataclass(frozen=True)
class RefHeldBack:
    """A ref that is elsewhere than the catalogue says, and why."""

    ref: str
    reason: str


@dataclass(frozen=True)
class RefusedFile:
    """A file in the quarantine, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class ReelHealth:
    """A reel in the swarm; ``full_copies``: how many whole ones this node knows of, its own among them."""

    reel: str
    size: int
    local: int
    peers: int
    full_copies: int
    downloaded: int
    uploaded: int
    failure: str | None


@dataclass(frozen=True)
class FeedHealth:
    """What a feed said last; times in seconds since 1970, None before the first."""

    feed: str
    answered: int | None
    error: str | None


@dataclass(frozen=True)
class PublishedVersion:
    """A version that was published, and when it was signed."""

    version: int
    date: int


@dataclass(frozen=True)
class RepositoryHealth:
    """How one repository fares; sizes in bytes, rates in bytes a second, times and spans in seconds."""

    name: str
    standing: Standing
    trouble: tuple[str, ...] = ()  # in words; the first says why it stands as it does
    running: bool = False
    version: int | None = None
    date: int | None = None  # when the held catalogue was signed
    valid_until: int | None = None
    age: int | None = None  # of the held catalogue
    lag: int | None = None  # how long refs have been behind it, 0 where they are not
    answered: int | None = None  # when a feed answered last
    refs: int = 0
    held_back: int = 0
    reels_whole: int = 0
    reels: int = 0
    packs: int = 0
    bytes: int = 0
    peers: int = 0
    download_rate: int = 0
    upload_rate: int = 0
    downloaded: int = 0  # since the node started
    uploaded: int = 0
    ratio: float | None = None
    refs_held_back: tuple[RefHeldBack, ...] = ()  # the first 100
    refused: tuple[RefusedFile, ...] = ()  # the last 100
    swarm: tuple[ReelHealth, ...] = ()
    feeds: tuple[FeedHealth, ...] = ()
    publishes: tuple[PublishedVersion, ...] = ()

    @property
    def exit_code(self) -> int:
        """What a monitor understands: 0 good, 1 to be looked at, 2 bad, 3 unknown."""
        return EXIT_CODES[self.standing]

    def describe(self) -> dict[str, Any]:
        """As gtfs(1) documents it under JSON."""
        return asdict(self)


KEYS: Final = tuple(field.name for field in fields(RepositoryHealth))


def unanswered(name: str, reason: str, *, is_damaged: bool = False) -> RepositoryHealth:
    """The health of a repository that could not be asked."""
    return RepositoryHealth(
        plain(without_private(name)), "damaged" if is_damaged else "unreachable", (plain(without_private(reason)),)
    )


def stopped(collections: Iterable[Mapping[str, Any]]) -> list[RepositoryHealth]:
    """Those of a daemon's collections that are in trouble as a whole, each like a repository that is not answered."""
    return [
        unanswered(f"collection {told['name']}", told["trouble"] or "it does not run")
        for told in collections
        if told.get("stage") == "trouble"  # an older daemon does not tell
    ]


def judge(told: Mapping[str, Any], now_s: int, thresholds: Thresholds, name: str | None = None) -> RepositoryHealth:
    """What a status answer comes down to. ``name``: by which the repository is known, else its catalogue's, or path."""
    held = told.get("catalogue")
    lag = _lag(held, now_s)
    found = sorted(_troubles(told, now_s, thresholds, lag), key=lambda t: _ORDER.index(t[0]))
    swarm = tuple(_reels(told))
    links = _swarm(told).get("connections", ())
    held_back = told.get("refs_held_back", ())
    return RepositoryHealth(
        name=plain(without_private(name or _own_name(told))),
        standing=found[0][0] if found else "fresh",
        trouble=tuple(plain(without_private(words)) for _, words in found),
        running=bool(told.get("running")),
        version=None if held is None else held["version"],
        date=None if held is None else held["date"],
        valid_until=_until(held),
        age=None if held is None else max(0, now_s - held["date"]),
        lag=lag,
        answered=max((f["answered"] for f in told.get("feeds", ()) if f["answered"] is not None), default=None),
        refs=0 if held is None else held["refs"],
        held_back=0 if held is None else held["held_back"],
        reels_whole=_whole(told, swarm),
        reels=told["reels"] - told.get("retired", 0),
        packs=told["packs"]["known"],
        bytes=told["packs"]["bytes"],
        peers=max(
            len({(c["address"], c["client"]) for c in links if c["kind"] == "peer"}),
            told.get("bell", {}).get("peers", 0),  # complete peers may be connected by it alone
        ),
        download_rate=sum(c["download_rate"] for c in links),
        upload_rate=sum(c["upload_rate"] for c in links),
        downloaded=sum(reel.downloaded for reel in swarm),
        uploaded=sum(reel.uploaded for reel in swarm),
        ratio=_swarm(told).get("share", {}).get("ratio"),
        refs_held_back=tuple(
            RefHeldBack(plain(h["ref"]), plain(without_private(h["reason"]))) for h in held_back[:_SHOWN]
        ),
        refused=tuple(
            RefusedFile(plain(q["file"]), plain(without_private(q["reason"]))) for q in told["quarantine"][-_SHOWN:]
        ),
        swarm=swarm,
        feeds=tuple(_feeds(told)),
        publishes=() if held is None else tuple(PublishedVersion(**p) for p in held.get("publishes", ())),
    )


def ranked(healths: Sequence[RepositoryHealth]) -> list[RepositoryHealth]:
    """The worst first, else by name; those of one name are told apart by a number."""
    taken: dict[str, int] = {}
    out = []
    for one in sorted(healths, key=lambda j: (_ORDER.index(j.standing), j.name)):
        taken[one.name] = count = taken.get(one.name, 0) + 1
        out.append(one if count == 1 else replace(one, name=f"{one.name} ({count})"))
    return out


def exit_code(healths: Sequence[RepositoryHealth]) -> int:
    """Of all together: what is bad outweighs what is not known, and that what is to be looked at."""
    codes = {one.exit_code for one in healths}
    return next((code for code in (2, 3, 1, 0) if code in codes), 3)


def _own_name(told: Mapping[str, Any]) -> str:
    held = told.get("catalogue")
    last = str(told["repository"]).rstrip("/").removesuffix("/.git").rpartition("/")[2].removesuffix(".git")
    return held["repository"] if held is not None else last


def _until(held: Mapping[str, Any] | None) -> int | None:
    return None if held is None else max(held["valid_until"], held.get("fresh_until") or 0)


def _lag(held: Mapping[str, Any] | None, now_s: int) -> int | None:
    if held is None:
        return None
    since_s = held.get("behind_since")
    return 0 if since_s is None else max(0, now_s - since_s)


def _swarm(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = told.get("swarm") or {}
    return found


def _whole(told: Mapping[str, Any], swarm: Sequence[ReelHealth]) -> int:
    if "whole" in told:
        return int(told["whole"])
    return sum(reel.local == reel.size for reel in swarm)


def _reels(told: Mapping[str, Any]) -> Iterator[ReelHealth]:
    complete: dict[str, set[tuple[str, int]]] = {}
    for c in _swarm(told).get("connections", ()):
        if c["progress"] >= 1.0:
            complete.setdefault(c["reel"], set()).add((c["address"], c["port"]))
    for name, r in _swarm(told).get("reels", {}).items():
        seen = r.get("copies", 0)  # not from an older node
        copies = max(len(complete.get(name, ())), seen) + (r["local"] == r["size"])
        failure = None if r["failure"] is None else plain(without_private(r["failure"]))
        yield ReelHealth(
            plain(name), r["size"], r["local"], r["peers"], copies, r["downloaded"], r["uploaded"], failure
        )


def _feeds(told: Mapping[str, Any]) -> Iterator[FeedHealth]:
    for f in told.get("feeds", ()):
        error = None if f["error"] is None else plain(without_private(f["error"]))
        yield FeedHealth(plain(without_private(f["feed"])), f["answered"], error)


def _troubles(
    told: Mapping[str, Any], now_s: int, thresholds: Thresholds, lag: int | None
) -> Iterator[tuple[Standing, str]]:
    """What is wrong, with what it makes of the repository: ``fresh`` for what only should be known."""
    for kind, reason in each_trouble(told):
        yield STANDING_OF[kind], f"{_WORDS_OF.get(kind, '')}{reason}"
    yield from _lags(told, now_s, thresholds, lag)
    yield from _feed_troubles(told, now_s, thresholds)
    if told["quarantine"]:
        count, refused = len(told["quarantine"]), told["quarantine"][-1]
        yield "fresh", f"{count} files were refused, the last one {refused['file']}: {refused['reason']}"


def _lags(
    told: Mapping[str, Any], now_s: int, thresholds: Thresholds, lag: int | None
) -> Iterator[tuple[Standing, str]]:
    held = told.get("catalogue")
    if held is None:
        yield "empty", "it holds no catalogue"
        return
    if lag and thresholds.max_lag_s is not None and lag > thresholds.max_lag_s:
        first = next(iter(told.get("refs_held_back", ())), None)
        why = "" if first is None else f", {first['ref']} first: {first['reason']}"
        yield "lagging", f"{held['held_back']} of {held['refs']} refs are behind for {span_text(lag)}{why}"
    age = now_s - held["date"]
    if thresholds.max_age_s is not None and age > thresholds.max_age_s:
        yield "lagging", f"the newest catalogue is {span_text(age)} old"


def _feed_troubles(told: Mapping[str, Any], now_s: int, thresholds: Thresholds) -> Iterator[tuple[Standing, str]]:
    feeds = told.get("feeds", ())
    started_s = told.get("started")
    heard = [s for s in (*(f["answered"] for f in feeds), started_s) if s is not None]
    silence = now_s - max(heard) if feeds and heard else 0
    if thresholds.max_silence_s is not None and silence > thresholds.max_silence_s:
        yield "lagging", f"no feed has answered for {span_text(silence)}"
    for f in feeds:
        if f["error"] is not None:
            prefix = f"feed {f['feed']}: "
            yield "fresh", prefix + f["error"].removeprefix(prefix)
        elif f.get("freshness"):
            yield "fresh", f"the freshness statement of {f['feed']} does not count: {f['freshness']}"
