# SPDX-License-Identifier: GPL-3.0-or-later
"""Status answers for tests of the overview."""

from __future__ import annotations

from typing import Any

NOW = 1_800_000_000
REEL = "ab" * 32


def catalogue(**more: Any) -> dict[str, Any]:
    return {
        "repository": "demo", "version": 7, "date": NOW - 7200, "valid_until": NOW + 86400, "fresh_until": None,
        "equivocation": False, "stale": False, "two_packs": [], "refs": 12, "held_back": 0, "behind_since": None,
        "publishes": [{"version": 6, "date": NOW - 90000}, {"version": 7, "date": NOW - 7200}],
        **more,
    }  # fmt: skip


def feed(**more: Any) -> dict[str, Any]:
    return {"feed": "https://example.org/latest.asc", "answered": NOW - 60, "error": None, "freshness": None, **more}


def reel(**more: Any) -> dict[str, Any]:
    return {"peers": 2, "downloaded": 5, "uploaded": 10, "local": 100, "size": 100, "failure": None, **more}


def link(**more: Any) -> dict[str, Any]:
    return {
        "reel": REEL, "address": "192.0.2.1", "port": 6881, "client": "gtfs 1", "kind": "peer", "progress": 1.0,
        "download_rate": 3, "upload_rate": 4, **more,
    }  # fmt: skip


def told(**more: Any) -> dict[str, Any]:
    """Of a running mirror that is well."""
    return {
        "repository": "/srv/secret/demo.git", "packs": {"known": 3, "bytes": 4096}, "reels": 1, "retired": 0,
        "whole": 1,
        "quarantine": [], "running": True, "started": NOW - 3600, "catalogue": catalogue(), "refs_held_back": [],
        "feeds": [feed()],
        "swarm": {"share": {"ratio": 2.0}, "connections": [link(), link(port=6882)], "reels": {REEL: reel()}},
        **more,
    }  # fmt: skip
