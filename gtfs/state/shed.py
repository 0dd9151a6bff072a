# SPDX-License-Identifier: GPL-3.0-or-later
"""A clone lets go of the reels whose packs git has: they can be encoded again (design.md §12).

Their tables stay, as mirrors keep those of evicted reels: so nothing of them is fetched again. Blocking; under the
node's lock. The swarm must not have them.
"""

from __future__ import annotations

from gtfs.durable import replace_file, sync_directory
from gtfs.reel.table import encode_table
from gtfs.state.state import State


def shed_reels(state: State) -> int:
    """Delete the files; gives the bytes that this freed. Raises OSError."""
    index, layout = state.index, state.layout
    freed = 0
    for row in index.reels.all():
        path = layout.reel(row.name)
        table = state.reel_files.table(row) if path.exists() else None
        # What was refused is judged again at each fetch, as keys and policy may be others by then.
        if table is None or index.reels.holds_any(row.id, ("remote", "waiting", "refused", "verified")):
            continue
        if not layout.table(row.name).exists():  # else it is the one that was just read
            replace_file(layout.table(row.name), encode_table(table.packs, state.repository.fmt))
        index.reels.set_stage([row.id], "partial")  # first: what is called whole is believed to be there
        freed += path.stat().st_blocks * 512
        for file in (layout.resume(row.name), layout.metainfo(row.name), path):
            file.unlink(missing_ok=True)
    sync_directory(layout.reels)
    return freed
