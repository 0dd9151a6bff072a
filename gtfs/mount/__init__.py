# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount: commit packs as files, read lazily and written back in (design.md §9, mount.fuse.gtfs(8)).

tree
    what the mount reads through: the Protocols `PackSource`, `IncomingSink` and `ControlTree`, which node.py wires.
mount
    one mounted repository, `mount.Mount`: its parts, what runs beside the requests, its end.
operations
    the kernel's requests, each handed to the part whose noun it is about.
names, attributes, inodes
    what a name or an inode means and who may change it; what stat shows; the numbers behind the names.
handles, handletable, listing
    what stands behind an open file, with its manner of reading ahead; all of them by number; open directories.
changes, xattrs, space, kernelcache
    names, sizes, times and modes as writers change them; extended attributes; statfs; what the kernel is to forget.
droppedfiles
    a catalogue or a ``.torrent`` that is being copied into ``.gtfs``.
incoming, contents, incomingdisk, handover
    files that are being written, under any name; what is in them and who has them open; their real files, with the
    limit; and the way of a **whole** one to the ingest: flush checks, the last release queues, a rename to
    ``<oid>.pack`` is the same check.
waits
    every wait for the swarm, so that all of them end at the deadline, with their reader, and with the mount.
errnos
    the one place where an error of the domain becomes an errno.
options, mountpoint, lifetime, daemon
    from ``-o`` to a mounted file system, its clean end, and the process in the background.

Nothing here knows the swarm, git or signatures. Everything runs on the trio loop unless its docstring says otherwise;
real files are read, written and hashed in threads.
"""
