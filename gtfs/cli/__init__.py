# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: one file each, which reads arguments and terminal; the library below never does.

`main` is the entry of both ``gtfs`` and ``mount.fuse.gtfs``; `terminal` shows progress and errors; `source` finds the
repository behind a SOURCE; `nodeoptions` reads ``-o``.
"""
