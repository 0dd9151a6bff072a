# SPDX-License-Identifier: GPL-3.0-or-later
"""From a torrent's spec and what is kept on disk to what libtorrent is told when it is added.

Blocking (reads files, some ms of hashing): called in a thread. Adds nothing itself.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent as lt

from gtfs.ids import InfoHash
from gtfs.metainfo import MAX_METAINFO_BYTES, BadMetainfo, check_info, info_of, wrap_info
from gtfs.swarm import files
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.settings import SwarmOptions
from gtfs.swarm.spec import TorrentSpec

log = logging.getLogger(__name__)

UNTOLD: Any = lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd


@dataclass(frozen=True)
class AddPlan:
    """libtorrent's parameters, and the piece hashes if the metainfo is kept here and good."""

    params: Any
    hashes: tuple[bytes, ...] | None


def plan_add(spec: TorrentSpec, options: SwarmOptions) -> AddPlan:
    """What to add for ``spec``; raises `SwarmError` if it claims to be complete and is not."""
    kept = _kept_metainfo(spec)
    if spec.complete and (kept is None or files.file_size(spec.path) != spec.size):
        raise SwarmError(f"{spec.path} cannot be seeded: the reel or its metainfo {spec.metainfo} is not there whole")
    if kept is None:
        params: Any = lt.add_torrent_params()
        params.info_hashes = lt.info_hash_t(lt.sha1_hash(spec.infohash))
        # Until the metadata is checked, nothing that it says may touch the reels.
        clear_staging(spec)
        params.save_path = os.fsencode(spec.staging)
        hashes = None
    else:
        info, hashes = kept
        params = _with_resume(lt.load_torrent_buffer(wrap_info(info)), spec)
        params.save_path = os.fsencode(spec.directory)
    params.name = spec.file_name
    params.renamed_files = {}
    # Piece priorities, not default_dont_download: that flag gives the *file* priority 0, and libtorrent then keeps
    # its pieces in a part file instead of the reel.
    params.file_priorities = []
    params.piece_priorities = [] if spec.complete else [0] * spec.pieces
    params.trackers = [] if spec.is_quiet else list(dict.fromkeys((*spec.trackers, *options.trackers)))
    params.tracker_tiers = list(range(len(params.trackers)))
    params.url_seeds = list(spec.web_seeds)
    params.http_seeds = []
    params.peers = [*params.peers, *(peer for peer in (*spec.peers, *options.peers) if _is_address(peer[0]))]
    params.flags = _flags(spec, options) | UNTOLD if spec.is_quiet else _flags(spec, options)
    return AddPlan(params, hashes)


def probe_params(infohash: InfoHash, staging: Path, options: SwarmOptions) -> Any:
    """What to add for a torrent's metadata alone: it stops as soon as that is there."""
    params: Any = lt.add_torrent_params()  # Any: the path is bytes, as it need not be UTF-8
    params.info_hashes = lt.info_hash_t(lt.sha1_hash(infohash))
    params.save_path = os.fsencode(staging)
    params.name = infohash.hex()
    params.trackers = list(options.trackers)
    params.tracker_tiers = list(range(len(params.trackers)))
    params.peers = [peer for peer in options.peers if _is_address(peer[0])]
    params.flags = _switches(options) | lt.torrent_flags.default_dont_download
    return params


def clear_staging(spec: TorrentSpec) -> None:
    """Throw away what metadata that did not fit the spec may have made."""
    shutil.rmtree(spec.staging, ignore_errors=True)


def has_metainfo(spec: TorrentSpec) -> bool:
    """Whether its metainfo is kept here, which proves what the spec says of its infohash."""
    return _kept_metainfo(spec) is not None


def _kept_metainfo(spec: TorrentSpec) -> tuple[bytes, tuple[bytes, ...]] | None:
    data = files.read_small(spec.metainfo, MAX_METAINFO_BYTES)
    if data is None:
        return None
    try:
        info = info_of(data)
        return info, check_info(info, spec.infohash, spec.file_name, spec.size, spec.piece_length)
    except BadMetainfo as error:
        log.warning("%s is not used: %s", spec.metainfo, error)
        return None


def _with_resume(fresh: Any, spec: TorrentSpec) -> Any:
    data = files.read_small(spec.resume, MAX_METAINFO_BYTES)
    if data is None:
        return fresh
    try:
        resumed = lt.read_resume_data(data)
    except (RuntimeError, ValueError) as error:
        if not spec.complete:
            log.warning("%s is not used, the reel is hashed again: %s", spec.resume, error)
        return fresh
    if resumed.info_hashes.v1.to_bytes() != spec.infohash:
        log.warning("%s is not used, it belongs to another torrent", spec.resume)
        return fresh
    if spec.complete:
        # Its owner knows what is here; only what was given and taken so far is remembered.
        fresh.total_uploaded, fresh.total_downloaded = resumed.total_uploaded, resumed.total_downloaded
        return fresh
    end_bytes = max((i + 1 for i, is_here in enumerate(resumed.have_pieces) if is_here), default=0) * spec.piece_length
    if min(end_bytes, spec.size) > (files.file_size(spec.path) or 0):
        # libtorrent would believe it: it looks at the file's size only where all of it should be here.
        log.warning("%s ends before what %s says is here; the reel is hashed again", spec.path, spec.resume)
        return fresh
    resumed.ti = fresh.ti
    resumed.banned_peers = []  # a ban may be wrong (gtfs.swarm.amnesty): it ends with the session
    return resumed


def _flags(spec: TorrentSpec, options: SwarmOptions) -> Any:
    flag = lt.torrent_flags
    flags = _switches(options) | flag.override_trackers | flag.override_web_seeds
    return flags | flag.seed_mode if spec.complete else flags


def _switches(options: SwarmOptions) -> Any:
    flag = lt.torrent_flags
    flags = flag.default_flags & ~(flag.paused | flag.auto_managed)
    flags |= flag.duplicate_is_error | flag.update_subscribe
    for is_on, bit in (
        (not options.dht, flag.disable_dht),
        (not options.lsd, flag.disable_lsd),
        (not options.pex, flag.disable_pex),
    ):
        if is_on:
            flags |= bit
    return flags


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
