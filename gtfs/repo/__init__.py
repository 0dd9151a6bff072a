# SPDX-License-Identifier: GPL-3.0-or-later
"""The backing repository: an ordinary bare git repository that git may change at any time (design.md §1, §8).

repository
    `repository.Repository`: its directory, object format and the environment in which git is run.
reader
    `catfile.CatFile`: objects by id, one `git cat-file` process.
walk
    `history`: commits and tags reachable from refs, parents first.
unpack
    `unpack`: batches of verified objects into a quarantine, then renamed in.
repack
    `upkeep`: the many small packs that unpacking leaves become few.
work
    `work.Work`: something long, with its processes, its end and who hears of it, as one value.
refs
    `refs`: compare-and-swap moves, fsynced.
mailbox
    `appendmail.Mailbox`: another repository that holds mails, by signed commits.

All synchronous. Nothing here decides whether an object may come in.
"""
