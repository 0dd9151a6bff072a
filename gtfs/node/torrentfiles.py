# SPDX-License-Identifier: GPL-3.0-or-later
"""``.torrent`` files for other clients: of reels as they lie here, of commit packs made from their bytes. Trio loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from gtfs.durable import replace_file
from gtfs.feed import seed_url
from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX, ReelName, pack_name
from gtfs.metainfo import MAX_METAINFO_BYTES, BadMetainfo, info_of, with_trackers
from gtfs.state.control import Tell
from gtfs.state.state import State
from gtfs.swarm.files import read_small
from gtfs.view.packmetainfo import pack_metainfo
from gtfs.view.packs import Packs

_PAGE = 1000
_FOR_OTHERS = 0o644  # what is handed out is meant to be read


async def hand_out(
    state: State, packs: Packs, directory: Path, trackers: Sequence[str], *, with_packs: bool, tell: Tell
) -> dict[str, Any]:
    """Write ``<name>.reel.torrent`` for every listed reel, and ``<oid>.pack.torrent`` for every pack that git has.

    Trackers are the catalogue's and ``trackers``; the web seeds of reels are the catalogue's. Gives how many, and the
    reels of which no metadata came yet. Raises OSError, `BadMetainfo`, what `Packs.read` does.
    """
    held = state.held
    announce = [*trackers, *(held.catalogue.trackers if held is not None else ())]
    lacking = await trio.to_thread.run_sync(_hand_out_reels, state, directory, announce)
    listed = len(held.catalogue.reels) if held is not None else 0
    made = await _hand_out_packs(state, packs, directory, announce, tell) if with_packs else 0
    return {"reels": listed - len(lacking), "lacking": lacking, "packs": made}


def _hand_out_reels(state: State, directory: Path, announce: Sequence[str]) -> list[ReelName]:
    directory.mkdir(parents=True, exist_ok=True)
    lacking: list[ReelName] = []
    catalogue = None if state.held is None else state.held.catalogue
    for name in [entry.name for entry in catalogue.reels] if catalogue is not None else ():
        file_name = name + REEL_SUFFIX
        metainfo = read_small(state.layout.metainfo(name), MAX_METAINFO_BYTES)
        if metainfo is None:
            lacking.append(name)
            continue
        web_seeds = [seed_url(base, file_name) for base in catalogue.web_seeds] if catalogue is not None else ()
        try:
            info = info_of(metainfo)
        except BadMetainfo as e:
            raise BadMetainfo(f"{file_name}: {e}") from None
        path = directory / (file_name + METAINFO_SUFFIX)
        replace_file(path, with_trackers(info, announce, web_seeds), _FOR_OTHERS)
    return lacking


async def _hand_out_packs(state: State, packs: Packs, directory: Path, announce: Sequence[str], tell: Tell) -> int:
    total = state.index.packs.count_by_stage().get("unpacked", 0)
    after = done = 0
    while rows := state.index.packs.with_stage("unpacked", after, _PAGE):
        after = rows[-1].row
        for row in rows:
            name = pack_name(row.oid)
            info = info_of(await pack_metainfo(packs, row.oid, row.size))
            path = directory / (name + METAINFO_SUFFIX)
            await trio.to_thread.run_sync(replace_file, path, with_trackers(info, announce, ()), _FOR_OTHERS)
            done += 1
            tell({"packs": done, "packs_of": total})
    return done
