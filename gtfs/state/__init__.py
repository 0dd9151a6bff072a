# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository's state on this machine's disk, and what is done with it that needs no network (design.md §2, §7).

state
    what lies in ``$GIT_DIR/gtfs``, opened under its lock (`gtfs.state.state`).
reel files
    the reels on this disk (`gtfs.state.reelfiles`); which there should be is the matter of `gtfs.state.turnover`.
initialise
    make the repository a publisher's (`gtfs.state.initialise`).
publish
    refs of the repository into reels and the next signed catalogue (`gtfs.state.publish`).
withdrawal
    what no published ref reaches goes from the publisher (`gtfs.state.pruning`) and from its mirrors
    (`gtfs.state.withdrawal`).
announce
    a mail for each new tag, into a repository of mails (`gtfs.state.announce`); what is due says `gtfs.state.newtags`.
fsck
    whether all of it is whole (`gtfs.state.fsck`).

Synchronous: no trio and no libtorrent, here and in all that is imported here.
"""
