# SPDX-License-Identifier: GPL-3.0-or-later
"""Web seeds: plain HTTP servers with the reels directory of a node (BEP 19). libtorrent reads the reels from them.

What it cannot get there is a torrent's metadata, which lies beside the reel: this fetches it, so that a web seed
alone is enough. Trio loop only.
"""

from __future__ import annotations

import hashlib
import logging
from http import HTTPStatus

import trio

from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX
from gtfs.metainfo import MAX_METAINFO_BYTES, BadMetainfo, info_of
from gtfs.swarm.httpget import Client, HttpFailed, get
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

AGAIN_FIRST_S = 5.0
AGAIN_LAST_S = 300.0


async def bring_info_task(client: Client, torrent: Torrent) -> None:
    """Ask the torrent's web seeds in turn for its metadata until somebody, peers too, gave it.

    What comes is given to libtorrent only if its hash is right, and is checked once more like that of peers.
    """
    wait_s = AGAIN_FIRST_S
    # Like libtorrent: a query would let a catalogue choose what a server of our own network is asked to do.
    seeds = [url for url in torrent.spec.web_seeds if "?" not in url and "#" not in url]
    urls = [url.removesuffix(REEL_SUFFIX) + METAINFO_SUFFIX for url in seeds]
    while urls and not torrent.is_ready() and torrent.failure is None:
        for url in urls:
            info = await _ask(client, url, torrent)
            if torrent.is_ready() or torrent.failure is not None:
                return
            if info is not None:
                torrent.link.call("set_metadata", info)
                return
        await trio.sleep(wait_s)
        wait_s = min(2 * wait_s, AGAIN_LAST_S)


async def _ask(client: Client, url: str, torrent: Torrent) -> bytes | None:
    try:
        answer = await get(client, url, what="metadata", limit_bytes=MAX_METAINFO_BYTES)
        if answer.status != HTTPStatus.OK:
            log.info("web seed %s: HTTP status %d", url, answer.status)
            return None
        # Megabytes of nothing but short strings take seconds.
        info = await trio.to_thread.run_sync(info_of, answer.body)
    except (HttpFailed, BadMetainfo) as error:
        log.info("web seed %s: %s", url, error)
        return None
    if hashlib.sha1(info).digest() == torrent.spec.infohash:
        return info
    log.info("web seed %s has another torrent", url)
    return None
