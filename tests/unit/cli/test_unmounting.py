# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs umount` takes away what is of gtfs, and says what else is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.cli.work.umount import run
from gtfs.mount.mountpoint import MountpointError


def test_what_others_have_mounted_stays(tmp_path: Path) -> None:
    with pytest.raises(MountpointError, match=r"/proc: it is proc, and umount /proc takes it away"):
        run(Path("/proc"), False, no_wait=False)
    with pytest.raises(MountpointError, match="it is not mounted"):
        run(tmp_path, False, no_wait=False)
