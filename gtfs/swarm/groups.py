# SPDX-License-Identifier: GPL-3.0-or-later
"""Out of a nursery's group of errors the one that matters. Any thread."""

from __future__ import annotations

import trio


def only_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in a group besides cancellations, or the group."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        elif not isinstance(error, trio.Cancelled):
            found.append(error)
    return found[0] if len(found) == 1 else group
