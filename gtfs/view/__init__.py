# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mount is given: the node's packs, what is written through it, and ``.gtfs`` (design.md §2, §9).

packs
    every commit pack that this machine can give, wherever it lies (`gtfs.view.packs`).
written packs
    what somebody writes through the mount, until it is let in (`gtfs.view.written`).
news
    what has changed, as numbers that whoever cares compares (`gtfs.view.news`); told by who has written, and there is
    one way to write (`gtfs.view.writing`).
control files
    ``DIR/.gtfs`` (`gtfs.view.controlfiles`).

Trio; it fulfils the Protocols of `gtfs.mount.tree` and knows neither pyfuse3 nor the swarm.
"""
