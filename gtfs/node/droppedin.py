# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into ``DIR/.gtfs``: a catalogue or an attestation, judged like a feed's, or a listed reel's torrent.

Trio loop.

Copying proves nothing: whoever may write there may also hand over anything that he got from anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.metainfo import BadMetainfo, info_of
from gtfs.mount.tree import NotTakeable
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.state.state import State
from gtfs.trust.attestation import looks_like_attestation

_CLEAR_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


class NotListed(GtfsError):
    """A torrent of something that the held catalogue does not name."""

    fault = Blame.TRUST


async def take_copied(
    state: State,
    reel_torrents: ReelTorrents,
    take_catalogue: Callable[[bytes], Awaitable[None]],
    take_attestation: Callable[[bytes], Awaitable[None]],
    document: bytes,
) -> None:
    """Take in a document, told by its contents.

    Raises `NotTakeable`, `NotListed`, `CatalogueRefused`, `AttestationRefused`, OSError.
    """
    if looks_like_attestation(document):
        await take_attestation(document)
        return
    if document.startswith(_CLEAR_SIGNED):
        await take_catalogue(document)
        return
    try:
        info = await trio.to_thread.run_sync(info_of, document)  # seconds, of megabytes of short strings
    except BadMetainfo as e:
        raise NotTakeable(f"neither a signed catalogue nor a torrent: {e}") from None
    infohash = hashlib.sha1(info).digest()
    held = state.held
    names = [] if held is None else [r.name for r in held.catalogue.reels if r.infohash == infohash]
    row = state.index.reels.by_name(names[0]) if names else None
    if row is None:
        raise NotListed(f"the held catalogue lists no reel whose torrent is {infohash.hex()}")
    await reel_torrents.keep_metainfo(row, info)
