# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount: commit packs as files, read lazily and written back in (design.md §9, mount.fuse.gtfs(8)).

tree
    what the mount reads through: the Protocols `PackSource`, `IncomingSink` and `ControlTree`, which node.py wires.
operations
    the answers to the kernel's requests: one `operations.Operations` a mount.
handles, listing, attributes, inodes
    an open file with its manner of reading ahead; an open directory; what stat shows; the numbers behind the names.
metadata
    the requests beside contents and names: extended attributes, statfs, and what can never be made here.
inbox
    a catalogue or a ``.torrent`` that is being copied into ``.gtfs``.
incoming, intake
    files that are being written, under any name, and the way of a **whole** one to the ingest: flush checks, the last
    release queues, a rename to ``<oid>.pack`` is the same check.
waits
    every wait for the swarm, so that all of them end at the deadline, with their reader, and with the mount.
errnos
    the one place where an error of the domain becomes an errno.
options, mountpoint, lifetime, daemon
    from ``-o`` to a mounted file system, its clean end, and the process in the background.

Nothing here knows the swarm, git or signatures. Everything runs on the trio loop unless its docstring says otherwise;
real files are read, written and hashed in threads.
"""
