# SPDX-License-Identifier: GPL-3.0-or-later
"""git-remote-gtfs: how git reads and writes a SOURCE of gtfs as one of its own remotes (design.md §12).

An **address** is what follows ``gtfs::``, or a whole ``gtfs://`` URL. It names a repository on this machine, which git
speaks to itself, or a feed. The **clone** is the repository in which git runs: for a feed it is the node, its state
lies in its own ``$GIT_DIR/gtfs``, and refs are **offered** to git, which alone moves them.
"""
