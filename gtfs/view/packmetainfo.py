# SPDX-License-Identifier: GPL-3.0-or-later
"""The metainfo of a commit pack, made from its bytes when somebody asks. Trio loop."""

from __future__ import annotations

from typing import Final

import trio

from gtfs.ids import ObjectId, pack_name
from gtfs.metainfo import PieceHasher
from gtfs.view.packs import Packs

_CHUNK_BYTES: Final = 1 << 20


async def pack_metainfo(packs: Packs, oid: ObjectId, size: int) -> bytes:
    """The metainfo of a commit pack, which is read for it; raises what `Packs.read` does."""
    hasher = PieceHasher(size)
    for at in range(0, size, _CHUNK_BYTES):
        chunk = await packs.read(oid, at, min(_CHUNK_BYTES, size - at), read_ahead=_CHUNK_BYTES)
        await trio.to_thread.run_sync(hasher.update, chunk)
    return hasher.metainfo(pack_name(oid))[0]
