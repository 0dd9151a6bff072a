# SPDX-License-Identifier: GPL-3.0-or-later
"""Commit packs: the one encoding of what a commit or an annotated tag introduces (design.md §3, gtfs-pack(5)).

commit pack
    a git pack whose bytes are a function of its commit alone: `encode.Encoder` writes it.
walk
    which objects a commit introduces, in which order, and on which base each may be a delta: `walk.Walker`.
delta, deflate
    the two encodings whose bytes are fixed here rather than left to a library: `delta.make_delta`, `deflate.deflate`.
scan, decode
    the way in: `scan.scan` refuses what is malformed or too large before anything is inflated whole, `decode.decode`
    recomputes every id.

This folder knows bytes. It reads objects through the Protocol `walk.ObjectReader` and imports nothing above it.
"""
