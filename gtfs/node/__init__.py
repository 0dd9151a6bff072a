# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository on one machine, wired: its state on disk, its swarm, the way in, the way out (design.md §1, §2).

state
    what lies in ``$GIT_DIR/gtfs``, opened under its lock (`gtfs.node.state`).
stock
    the reels on this disk (`gtfs.node.stock`); which there should be is the matter of `gtfs.node.succession`.
node
    all of it together while it runs (`gtfs.node.node`); a SOURCE becomes one in `gtfs.node.source`.

Beside `gtfs.cli` the only station that sees all others.
"""
