# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: one file each, which reads arguments and terminal; the library below never does.

A command's file holds its options, asks the node that runs (`ask`) and shows what came of it. What has to be done in
this process is in `work`, imported when it is needed: most commands are answered before that would be loaded.
`main` is the entry of both ``gtfs`` and ``mount.fuse.gtfs``; `terminal` shows progress and errors; `source` finds the
repository behind a SOURCE; `nodeoptions` reads ``-o``.
"""
