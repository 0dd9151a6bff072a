# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of every error that gtfs raises on purpose; each subclass stands beside the code that raises it."""

from __future__ import annotations


class GtfsError(Exception):
    """A known failure: its text is one line that says what is wrong and, where it can, what to do next.

    ``exit_code`` is what the command line ends with (gtfs(1), EXIT STATUS): 1 failure, 2 usage, 3 the source or the
    repository is unusable, 4 refused by verification or trust, 5 network or time-out, 6 busy, 7 the system (disk,
    permission, FUSE).
    """

    exit_code: int = 1
