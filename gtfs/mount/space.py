# SPDX-License-Identifier: GPL-3.0-or-later
"""What statfs shows: the space of the disk behind the mount. Any thread."""

from __future__ import annotations

from typing import Final

import pyfuse3

from gtfs.mount.incoming import NAME_BYTES
from gtfs.mount.tree import SpaceStatistics

_BLOCK: Final = 4096  # f_bsize
_FREE_NODES: Final = 1 << 20  # files that may still be created: no such limit here, some programs want one


def space_of(found: SpaceStatistics) -> pyfuse3.StatvfsData:
    """The answer to statfs."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = _BLOCK
    data.f_blocks = -(-found.total_bytes // _BLOCK)
    data.f_bfree = data.f_bavail = found.free_bytes // _BLOCK
    data.f_files = found.packs + _FREE_NODES
    data.f_ffree = data.f_favail = _FREE_NODES
    data.f_namemax = NAME_BYTES
    return data
