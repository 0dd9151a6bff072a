# SPDX-License-Identifier: GPL-3.0-or-later
"""From a mounted file system to its clean end, by unmount or by signal. In the main thread, on the trio loop.

pyfuse3 has one session a process: so has this. The order at the end is: waits for the swarm, requests, the mount
itself, real files. What is wrong with the place is found before, see `mountpoint`.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from gtfs.mount.mount import Mount
from gtfs.mount.mountpoint import REQUESTS, MountpointError, allow_background, read_further_ahead
from gtfs.mount.mountwatch import MountWatch
from gtfs.mount.operations import Operations
from gtfs.mount.options import MountOptions, libfuse_options

log = logging.getLogger(__name__)

_GRACE_S: Final = 15.0
_SWITCH_S: Final = 0.001
END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def serve(
    mount: Mount,
    mountpoint: Path,
    options: MountOptions,
    *,
    source: str,
    on_mounted: Callable[[], None] = lambda: None,
    end_signals: Sequence[signal.Signals] = END_SIGNALS,
) -> signal.Signals | None:
    """Mount on a directory that `check_mountpoint` gave, and serve until it is unmounted (None) or a signal comes.

    ``source`` is what df shows. ``on_mounted`` is called when the mount stands. Raises `MountpointError`.
    """
    # Threads of this process encode and verify. By default each of them keeps the loop waiting for 5 ms, at every
    # request and at every return of a system call.
    sys.setswitchinterval(_SWITCH_S)
    await mount.start()
    # Before the mount stands: a signal that ended the process at once would leave it dead.
    with trio.open_signal_receiver(*end_signals) as signals:
        _mount(mount.operations, mountpoint, options, source)
        gone = trio.Event()
        try:
            return await _until_ended(mount, mountpoint, signals, gone, on_mounted)
        finally:
            mount.end_waits()
            mount.close()
            # Closes the connection first, then detaches the mount if it still stands: requests that were never answered
            # end with ECONNABORTED or ENOTCONN rather than hang.
            # What is gone from here already is not asked for again: libfuse would complain of it.
            pyfuse3.close(unmount=not gone.is_set())


async def _until_ended(
    mount: Mount,
    mountpoint: Path,
    signals: AsyncIterator[int],
    gone: trio.Event,
    on_mounted: Callable[[], None],
) -> signal.Signals | None:
    """Serve what is mounted; ``gone`` is set when it was unmounted."""
    watch = MountWatch(mountpoint)
    async with trio.open_nursery() as nursery:
        ended: list[signal.Signals] = []

        async def end_by_signal_task() -> None:
            async for number in signals:
                ended.append(signal.Signals(number))
                log.info("%s: unmounting %s", ended[0].name, mountpoint)
                mount.end_waits()
                pyfuse3.terminate()
                # Requests under way, such as the check of a written pack, may end.
                nursery.cancel_scope.deadline = trio.current_time() + _GRACE_S
                return

        async def end_waits_task() -> None:
            # An unmount of a busy file system (umount -l, -f) does not end the session before the last file
            # is closed; but nothing waits for the swarm any more.
            await watch.wait_unmounted()
            mount.end_waits()
            # Nor does the kernel end it while another mount namespace (a container, a sandboxed service) holds
            # a copy of the mount: here it is gone, and the repository is wanted back.
            await mount.wait_unused()
            gone.set()
            pyfuse3.terminate()

        nursery.start_soon(end_by_signal_task)
        nursery.start_soon(end_waits_task)
        nursery.start_soon(mount.resume_task)
        nursery.start_soon(mount.watch_readers_task)
        nursery.start_soon(mount.watch_writers_task)
        nursery.start_soon(mount.tell_kernel_again_task)
        allow_background(watch.mounted)
        read_further_ahead(watch.mounted)
        on_mounted()
        await _answer_requests()
        nursery.cancel_scope.cancel()
    return ended[0] if ended else None


async def _answer_requests() -> None:
    """Until the session ends; also when it ends under a request that is just being received."""
    try:
        # Each request that waits holds a worker; more of them than the kernel sends at once in the background, so
        # that a listing is answered whatever else waits.
        await pyfuse3.main(max_tasks=REQUESTS)
    except* OSError as group:
        # libfuse takes ENODEV for the end, but not what the kernel says where the connection broke in mid-request.
        others = group.split(lambda e: isinstance(e, OSError) and e.errno in (errno.ECONNABORTED, errno.ENOTCONN))[1]
        if others is not None:
            raise others from None


def _mount(operations: Operations, mountpoint: Path, options: MountOptions, source: str) -> None:
    with _stderr_kept() as said:
        try:
            pyfuse3.init(operations, str(mountpoint), libfuse_options(options, source))
        except RuntimeError as error:
            failed: RuntimeError | None = error
        else:
            failed = None
    if failed is None:
        return
    reason = " ".join("; ".join(said).split()) or str(failed)
    if not Path("/dev/fuse").exists():
        reason += " (there is no /dev/fuse: modprobe fuse)"
    elif "user_allow_other" in reason:
        reason += " (set user_allow_other in /etc/fuse.conf, or mount without allow_other)"
    elif "fusermount3" in reason and "No such file" in reason:
        reason += " (install fuse3)"
    elif options.labels:
        names = ", ".join(name for name, _ in options.labels)
        reason += f" ({names}: only a kernel with SELinux takes that, and only from root)"
    raise MountpointError(f"cannot mount on {mountpoint}: {reason}")


@contextmanager
def _stderr_kept() -> Iterator[list[str]]:
    """What libfuse and its helper program write to descriptor 2: the only place where they say why."""
    said: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.memfd_create("stderr"), "w+b") as file:  # on no disk, which may be full
            os.dup2(file.fileno(), 2)
            try:
                yield said
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                said.extend(file.read().decode("utf-8", "replace").splitlines())
    finally:
        os.close(kept)
