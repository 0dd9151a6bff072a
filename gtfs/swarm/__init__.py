# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm: reels carried by BitTorrent, and the feeds that tell of newer catalogues (design.md §6, §11).

A *session* is the one libtorrent session of a process. A *torrent* is one reel in it: a single file whose infohash,
name and size a signed catalogue gave, lying at its real place on disk. A *piece* is what a torrent's hashes cover;
only pieces whose hash matched ever reach a reader. A reader *wants* pieces; what nobody wants is not fetched. The
*window* is the small run of pieces that a full fetch wants at a time. *Metainfo* is the ``.torrent`` file. A *feed*
is a place to ask for a newer catalogue, never a reason to trust it.

A torrent's parts: its *board* knows which pieces are here and who wants which; the *reader* gives their bytes; the
*milestones* say how far it is; *questions* are put to libtorrent, whose *reports* come unasked; the *tally* is what it
counts; the *whole fetch* wants all of it.

Everything here runs on the trio loop of the process except `files`, `metainfo` and `nodelay`, which block and run
in threads.
"""
