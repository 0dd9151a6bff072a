# SPDX-License-Identifier: GPL-3.0-or-later
"""One process that runs the nodes of many repositories: its configuration, who is to run, and how they come and go."""
