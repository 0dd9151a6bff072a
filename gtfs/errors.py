# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of every error that gtfs raises on purpose, and what such an error means; each subclass stands beside the
code that raises it."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class Blame(Enum):
    """Whose fault a failure is: the exit code (gtfs(1), EXIT STATUS) and the mount's errno follow from it."""

    OTHER = "other", 1
    USAGE = "usage", 2  # the command line or a setting
    SOURCE = "source", 3  # the source or the repository cannot be used
    DATA = "data", 4  # bytes that are damaged, or not what they should be
    TRUST = "trust", 4  # nobody who may stands for it: signature, policy, catalogue
    NETWORK = "network", 5  # no peer, no feed, too late
    BUSY = "busy", 6  # somebody else has it just now
    SYSTEM = "system", 7  # disk, permission, FUSE
    INTERRUPT = "interrupt", 130

    def __init__(self, _word: str, exit_code: int) -> None:
        self.exit_code = exit_code

    @property
    def is_refusal(self) -> bool:
        """Whether something was looked at and found wrong, so that trying again helps nobody."""
        return self in (Blame.DATA, Blame.TRUST)


class GtfsError(Exception):
    """A known failure: its text is one line that says what is wrong and, where it can, what to do next."""

    fault: Blame = Blame.OTHER

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return self.fault.exit_code


def without_frames(error: _Error) -> _Error:
    """The same error, to be kept: without the frames that it passed and the errors before it.

    Those hold whatever was looked at when it was raised, which may be many MiB and maps of files.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
