# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands do in this process, one file each with the command's name: imported when such a command runs.

A command that a running node answers imports none of it. `running` is what those with a SOURCE share, `signals` what
ends a process with nodes.
"""
