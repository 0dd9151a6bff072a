# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a repository without git: whose it is, that it is none. Any thread.

`repository` opens one; who only looks for a node's socket needs no more than this.
"""

from __future__ import annotations

import pwd

from gtfs.errors import Blame, GtfsError


class BadRepository(GtfsError):
    """A path that is no repository gtfs can use; the text says what to do."""

    fault = Blame.SOURCE


def owner_name(uid: int) -> str:
    """A user as messages call him."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
