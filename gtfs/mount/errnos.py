# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain error to errno: the only module that makes this translation. Any thread.

Errors are told apart by whom they blame, and by class where this folder itself raises them: so the mount needs to know
neither the swarm nor the trust policies.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

import pyfuse3

from gtfs.errors import Blame, GtfsError
from gtfs.mount.tree import NotLocal, PackGone
from gtfs.mount.waits import MountClosing, TooManyReads

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_BY_CLASS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (NotLocal, errno.ENODATA),
    (PackGone, errno.ESTALE),
    (MountClosing, errno.ESHUTDOWN),
    (TooManyReads, errno.EAGAIN),
    (TimeoutError, errno.ETIMEDOUT),
)
_BY_BLAME: Final = {
    Blame.OTHER: errno.EIO,
    Blame.USAGE: errno.EINVAL,
    Blame.SOURCE: errno.EIO,
    Blame.DATA: errno.EBADMSG,
    Blame.TRUST: errno.EACCES,
    Blame.NETWORK: errno.ETIMEDOUT,
    Blame.BUSY: errno.EBUSY,
    Blame.SYSTEM: errno.EIO,
    Blame.INTERRUPT: errno.EINTR,
}


def errno_of(error: BaseException) -> int:
    """The errno that a caller of the file system gets for ``error``; EIO for what is none of our known failures."""
    for kind, number in _BY_CLASS:
        if isinstance(error, kind):
            return number
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, GtfsError):
        return _BY_BLAME[error.fault]
    return errno.EIO


class _Answering:
    """Turns every exception of a request handler into the `pyfuse3.FUSEError` that pyfuse3 wants to see.

    Anything else that left a handler would end the main loop and with it the mount, so a bug costs its one request
    an EIO and is logged with its traceback. Cancellation passes.
    """

    __slots__ = ("_request",)

    def __init__(self, request: str) -> None:
        self._request = request

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, pyfuse3.FUSEError):
            return
        number = errno_of(error)
        if isinstance(error, GtfsError):
            log.info("%s: %s (%s)", self._request, error, os.strerror(number))
        elif isinstance(error, OSError):
            log.debug("%s: %s", self._request, error)
        else:
            log.error("bug while answering %s", self._request, exc_info=error)
        raise pyfuse3.FUSEError(number) from None


def answering(handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Decorates a request handler: whatever it raises reaches pyfuse3 as `pyfuse3.FUSEError`."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        with _Answering(handler.__name__):
            return await handler(*args, **kwargs)
        raise AssertionError("unreachable: _Answering swallows nothing")

    return answer
