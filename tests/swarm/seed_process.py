# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher in a process of its own: seeds the test reel under the directory given, prints its port, waits."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from loopback import LOOPBACK, content, make_reel

from gtfs.swarm.session import open_session


async def main() -> None:
    async with open_session(LOOPBACK) as session:
        await session.add(make_reel(Path(sys.argv[1]), content(3 * (1 << 20) + 12345)))
        print(session.port, flush=True)
        await trio.sleep_forever()


trio.run(main)
