# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for sealed reels, and a libtorrent session of nobody's making to act as a foreign peer."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import libtorrent as lt
from ports import free_port

from gtfs.ids import InfoHash
from gtfs.swarm.session import open_session
from gtfs.swarm.settings import SwarmOptions
from gtfs.swarm.torrents import TorrentSpec

PIECE = 64 << 10
LOOPBACK = SwarmOptions(listen="127.0.0.1:0")

# Messages have a form that libtorrent's types do not know.
bencode: Callable[[Any], bytes] = lt.bencode
bdecode: Callable[[bytes], Any] = lt.bdecode


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def make_info(name: str, data: bytes, piece_length: int = PIECE, **more: object) -> bytes:
    pieces = b"".join(hashlib.sha1(data[i : i + piece_length]).digest() for i in range(0, len(data), piece_length))
    info: dict[bytes, Any] = {
        b"length": len(data),
        b"name": name.encode(),
        b"piece length": piece_length,
        b"pieces": pieces,
    }
    info.update({key.encode().replace(b"_", b" "): value for key, value in more.items()})
    return bencode(info)


def infohash_of(info: bytes) -> InfoHash:
    return InfoHash(hashlib.sha1(info).digest())


def make_reel(directory: Path, data: bytes, name: str = "a" * 64 + ".reel") -> TorrentSpec:
    """A complete reel with its metainfo, as the publisher has it."""
    reels = directory / "reels"
    reels.mkdir(parents=True, exist_ok=True)
    info = make_info(name, data)
    (reels / name).write_bytes(data)
    (reels / f"{name}.torrent").write_bytes(b"d4:info" + info + b"e")
    return TorrentSpec(
        file_name=name,
        infohash=infohash_of(info),
        size=len(data),
        piece_length=PIECE,
        directory=reels,
        metainfo=reels / f"{name}.torrent",
        resume=directory / "resume" / infohash_of(info).hex(),
        complete=True,
    )


def at_mirror(spec: TorrentSpec, directory: Path, **changes: object) -> TorrentSpec:
    """The same reel where nothing of it is known but what the catalogue says."""
    reels = directory / "reels"
    reels.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {
        "file_name": spec.file_name,
        "infohash": spec.infohash,
        "size": spec.size,
        "piece_length": spec.piece_length,
        "directory": reels,
        "metainfo": reels / f"{spec.file_name}.torrent",
        "resume": directory / "resume" / spec.infohash.hex(),
    }
    return TorrentSpec(**{**fields, **changes})


@contextmanager
def foreign_seeder(directory: Path, info: bytes, data: bytes, name: str, *, lies: bool = False):
    """The port of a plain libtorrent seeder; if it ``lies``, the bytes on its disk do not match its claims."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)
    port = free_port()
    session = lt.session(
        {
            "listen_interfaces": f"127.0.0.1:{port}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
        }
    )
    params = lt.load_torrent_buffer(b"d4:info" + info + b"e")
    if lies:
        assert params.ti is not None
        params.have_pieces = [True] * params.ti.num_pieces()
    else:
        params.flags |= lt.torrent_flags.seed_mode
    params.save_path = str(directory)
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    session.add_torrent(params)
    try:
        yield port
    finally:
        del session


@asynccontextmanager
async def pair(reel, directory, **changes):
    """A publisher's session with the reel and a mirror's with nothing; yields (mirror session, torrent, seeder)."""
    async with open_session(LOOPBACK) as publisher:
        seeder = await publisher.add(reel)
        options = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", publisher.port),))
        async with open_session(options) as mirror:
            torrent = await mirror.add(at_mirror(reel, directory, **changes))
            yield mirror, torrent, seeder
