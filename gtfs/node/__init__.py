# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository while it runs: its swarm, the way in, the feeds, and who asks over its socket (design.md §1, §2).

node
    all of it together (`gtfs.node.node`); a SOURCE becomes one in `gtfs.node.opening`.
reel torrents
    the reels as the swarm has them (`gtfs.node.reeltorrents`); what is fetched: `gtfs.node.reelfetches`; what of them
    may leave the disk: `gtfs.node.evictions`.
sync
    all that a catalogue lists, fetched and let in (`gtfs.node.follow`, each round in `gtfs.node.sync`).

Trio. Beside `gtfs.daemon`, `gtfs.cli` and `gtfs.remote` the only station that sees all others.
"""
