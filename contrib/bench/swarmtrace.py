#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each node of contrib/bench/swarm has, from whom it got it, and whom it knows: a line of JSON twice a second.

    contrib/bench/swarmtrace.py DIR [SECONDS]

prints what a run with `--trace DIR` left there, all mirrors in one line: pieces of the mirror that has least, the
median and the most; pieces that any mirror has; payload that all of them got, and what of it came twice; the fewest and
the most connections, and how many have none; requests to anybody and to the publisher; how many of those that miss
something are connected to the publisher, rest from it, ask for everything, went back to it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import libtorrent as lt
import trio

from gtfs.ids import REEL_SUFFIX
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent

EVERY_S = 0.5
PUBLISHER = "10.77.0.1"

Line = dict[str, Any]


async def trace_task(session: Session, path: Path) -> None:
    """Write what the session's torrents are at, until it is cancelled."""
    with path.open("w") as lines:
        while True:
            found = {}
            for torrent in session.torrents():
                if torrent.link.handle is not None:
                    found[torrent.spec.file_name] = await trio.to_thread.run_sync(_state, torrent.link.handle)
                    found[torrent.spec.file_name] |= _rule(session, torrent)
            lines.write(json.dumps({"time": time.monotonic(), "torrents": found}) + "\n")
            lines.flush()
            await trio.sleep(EVERY_S)


def _state(handle: Any) -> Line:
    status = handle.status()
    peers: list[Line] = []
    for peer in handle.get_peer_info():
        if peer.flags & (lt.peer_info.connecting | lt.peer_info.handshake):
            peers.append({"at": peer.ip[0], "coming": True})
            continue
        peers.append({
            "at": peer.ip[0], "has": peer.num_pieces, "got": peer.total_download, "gave": peer.total_upload,
            "asked": peer.download_queue_length, "snubbed": bool(peer.flags & lt.peer_info.snubbed),
        })  # fmt: skip
    return {
        "pieces": "".join("01"[has] for has in status.pieces), "got": status.total_payload_download,
        "gave": status.total_payload_upload, "twice": status.total_redundant_bytes,
        "candidates": status.connect_candidates, "known": status.list_peers, "peers": peers,
    }  # fmt: skip


def _rule(session: Session, torrent: Torrent) -> Line:
    fetch = session._shares._fetches.get(torrent)
    if fetch is None:
        return {}
    return {"rests": torrent.is_resting, "open": fetch._is_open, "slow": fetch._is_slow, "mirrors": len(fetch._among)}


def _print(directory: Path, every_s: float) -> None:
    nodes = {path.stem: [json.loads(line) for line in path.open()] for path in sorted(directory.glob("*.jsonl"))}
    publisher = nodes.pop(PUBLISHER)
    now_s = start_s = min(lines[0]["time"] for lines in nodes.values())
    while now_s < max(lines[-1]["time"] for lines in nodes.values()) + every_s:
        sent = sum(torrent["gave"] for torrent in _at(publisher, now_s))
        mirrors = _line([_at(lines, now_s) for lines in nodes.values()])
        print(f"{now_s - start_s:5.1f} s: publisher {sent / 1e6:.2f} MB; {mirrors}")
        now_s += every_s


def _at(lines: list[Line], now_s: float) -> list[Line]:
    past = [line for line in lines if line["time"] <= now_s]
    torrents = past[-1]["torrents"].items() if past else ()
    return [{**torrent, "name": name} for name, torrent in torrents if name.endswith(REEL_SUFFIX)]


def _line(mirrors: list[list[Line]]) -> str:
    pieces = sorted(sum(torrent["pieces"].count("1") for torrent in mirror) for mirror in mirrors)
    torrents = [torrent for mirror in mirrors for torrent in mirror]
    fetching = [torrent for torrent in torrents if "0" in torrent["pieces"] or not torrent["pieces"]]
    met = [sum("has" in peer for torrent in mirror for peer in torrent["peers"]) for mirror in mirrors]
    asked = [(peer["at"], peer["asked"]) for torrent in torrents for peer in torrent["peers"] if "asked" in peer]
    held = {(torrent["name"], n) for torrent in torrents for n, has in enumerate(torrent["pieces"]) if has == "1"}
    total = [sum(torrent[key] for torrent in torrents) / 1e6 for key in ("got", "twice")]
    at_seed = sum(any(p["at"] == PUBLISHER and "has" in p for p in torrent["peers"]) for torrent in fetching)
    rule = (f"{key} {sum(torrent.get(key, False) for torrent in fetching)}" for key in ("rests", "open", "slow"))
    return (
        f"pieces {pieces[0]}/{pieces[len(pieces) // 2]}/{pieces[-1]}, of any {len(held)}; "
        f"got {total[0]:.1f} MB, twice {total[1]:.1f}; met {min(met)}–{max(met)}, nobody {met.count(0)}; "
        f"asked {sum(n for _, n in asked)}, publisher {sum(n for at, n in asked if at == PUBLISHER)}; "
        f"at the publisher {at_seed}, {', '.join(rule)}"
    )


if __name__ == "__main__":
    _print(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 2.0)
