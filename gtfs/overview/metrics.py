# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of repositories in Prometheus' text format, version 0.0.4. Pure; any thread.

https://prometheus.io/docs/instrumenting/exposition_formats/: names, units and types follow its naming practices, so
there are counters of bytes and no rates, and points in time rather than ages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gtfs.overview.health import STANDINGS, RepositoryHealth

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    value: Callable[[RepositoryHealth], float | None]  # None: there is no such number


_OF_REPOSITORIES: Final = (
    _Metric("up", "gauge", "Whether the repository could be asked.", lambda j: j.standing != "unreachable"),
    _Metric("running", "gauge", "Whether a node runs on the repository.", lambda j: j.running),
    _Metric("catalogue_version", "gauge", "Version of the held catalogue.", lambda j: j.version),
    _Metric("catalogue_signed_timestamp_seconds", "gauge", "When the held catalogue was signed.", lambda j: j.date),
    _Metric(
        "catalogue_valid_until_timestamp_seconds", "gauge", "Until when the held catalogue counts.",
        lambda j: j.valid_until,
    ),
    _Metric(
        "refs_behind_seconds", "gauge", "How long refs have been elsewhere than the held catalogue says.",
        lambda j: j.lag,
    ),
    _Metric("refs", "gauge", "Refs of the held catalogue.", lambda j: None if j.version is None else j.refs),
    _Metric(
        "refs_held_back", "gauge", "Refs that are elsewhere than the held catalogue says.",
        lambda j: None if j.version is None else j.held_back,
    ),
    _Metric(
        "feed_answered_timestamp_seconds", "gauge", "When a feed of the repository answered last.",
        lambda j: j.answered,
    ),
    _Metric("reels", "gauge", "Reels of the repository.", lambda j: j.reels),
    _Metric("reels_whole", "gauge", "Reels that are here as a whole.", lambda j: j.reels_whole),
    _Metric("packs", "gauge", "Commit packs that are known.", lambda j: j.packs),
    _Metric("packs_bytes", "gauge", "Size of the commit packs that are known.", lambda j: j.bytes),
    _Metric("refused_files", "gauge", "Refused files that are kept, at most 100.", lambda j: len(j.refused)),
    _Metric("peers", "gauge", "Peers that are connected.", lambda j: j.peers if j.running else None),
    _Metric(
        "received_bytes_total", "counter", "Payload received from peers since the node started.",
        lambda j: j.downloaded if j.running else None,
    ),
    _Metric(
        "sent_bytes_total", "counter", "Payload sent to peers since the node started.",
        lambda j: j.uploaded if j.running else None,
    ),
    _Metric("share_ratio", "gauge", "Bytes given for each byte taken, restarts included.", lambda j: j.ratio),
)  # fmt: skip
_OF_REELS: Final = (
    ("reel_full_copies", "gauge", "Whole copies of the reel that the node knows of, its own included."),
    ("reel_size_bytes", "gauge", "Size of the reel."),
    ("reel_local_bytes", "gauge", "Bytes of the reel that are here."),
)


def metrics(healths: Sequence[RepositoryHealth], version: str) -> str:
    """All of it; names of repositories must differ, as `ranked` sees to."""
    return "".join(f"{line}\n" for line in _lines(healths, version))


def _lines(healths: Sequence[RepositoryHealth], version: str) -> Iterator[str]:
    yield from _head("gtfs_build_info", "gauge", "Which gtfs this is.")
    yield _sample("gtfs_build_info", {"version": version}, 1)
    full = "gtfs_repository_standing"
    yield from _head(full, "gauge", "How the repository fares: 1 for the one word that holds.")
    for one in healths:
        for standing in STANDINGS:
            yield _sample(full, {"repository": one.name, "standing": standing}, one.standing == standing)
    for metric in _OF_REPOSITORIES:
        answered = [j for j in healths if metric.name == "up" or j.standing != "unreachable"]
        found = [(j, value) for j in answered if (value := metric.value(j)) is not None]
        if found:
            full = f"gtfs_repository_{metric.name}"
            yield from _head(full, metric.kind, metric.help)
            yield from (_sample(full, {"repository": j.name}, value) for j, value in found)
    for name, kind, help_ in _OF_REELS:
        samples = list(_of_reels(name, healths))
        if samples:
            yield from _head(f"gtfs_{name}", kind, help_)
            yield from samples


def _of_reels(name: str, healths: Iterable[RepositoryHealth]) -> Iterator[str]:
    for one in healths:
        for reel in one.swarm:
            values = {"reel_full_copies": reel.full_copies, "reel_size_bytes": reel.size}
            yield _sample(f"gtfs_{name}", {"repository": one.name, "reel": reel.reel}, values.get(name, reel.local))


def _head(name: str, kind: str, help_: str) -> Iterator[str]:
    yield f"# HELP {name} " + help_.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{said}}} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if isinstance(value, bool | int) else repr(value)
