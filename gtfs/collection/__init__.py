# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of repositories that their publisher signs, and what a mirror makes of one."""
