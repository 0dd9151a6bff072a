# SPDX-License-Identifier: GPL-3.0-or-later
"""Commit packs at rest: the open reel, sealed reels, and the index that knows where each pack lies.

A **reel** is an immutable file (design.md §4): commit packs back to back, then the **table** (one row a pack), then
the **footer**. Its **name** is the table's SHA-256, so the name binds the table and the table binds every pack. The
same packs in the **canonical order** make the same reel, the same **metainfo** and the same infohash on every machine.

The **open reel** is the append-only file of packs that no reel holds yet; **sealing** copies them into reels.

The **index** (SQLite) has one row for each known pack: its **stage** (remote, waiting, refused, verified,
unpacked) and its **place** — a reel and an offset, or an offset in the open reel. All but sign-offs, first-seen times
and catalogue versions can be rebuilt from the files (``recover``).

    durable    files that are whole or absent after a power cut
    table      rows, table, footer, name: the layout of a reel
    order      the canonical order, and where one reel ends and the next begins
    compaction which reels are merged into larger ones
    openreel   OpenReelWriter, ReelReader
    seal       write_reel, read_reel, verify_reel
    database   the SQLite file: connections, transactions, schema, errors
    ledger     its small tables: refs, sign-offs, signers, settings
    index      its packs and reels: Index
    recover    the torn tail of the open reel; the index rebuilt from files

Everything here is synchronous, knows bytes and files only, and imports nothing above it.
"""
