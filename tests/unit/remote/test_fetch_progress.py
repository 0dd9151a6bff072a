# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fetch is, as git shows it."""

from __future__ import annotations

import io

from gtfs.remote.progress import FetchProgress

HALF = {"bytes": 512, "bytes_of": 1024, "packs": 1, "packs_of": 2}


def test_a_line_has_packs_bytes_rate_and_peers_and_ends_once() -> None:
    out = io.StringIO()
    progress = FetchProgress(True, out)
    progress.tell({**HALF, "received": 100, "peers": 3})
    progress.close()
    progress.close()
    assert out.getvalue().startswith("Receiving packs:  50% (1/2), 512 B of 1.0 KiB | 0 B/s, 3 peers\r")
    assert out.getvalue().endswith(", done.\n") and out.getvalue().count("\n") == 1


def test_a_shorter_line_covers_a_longer_one() -> None:
    out = io.StringIO()
    progress = FetchProgress(True, out)
    progress.tell({**HALF, "received": 100, "peers": 3})
    progress.tell(HALF)
    progress.close("x")
    first, second = out.getvalue().rstrip("\n").split("\r")
    assert len(second) >= len(first)


def test_nothing_is_said_where_nobody_looks_or_there_is_nothing_to_tell() -> None:
    out = io.StringIO()
    quiet = FetchProgress(False, out)
    quiet.tell(HALF)
    quiet.close()
    FetchProgress(True, out).close()
    assert out.getvalue() == ""


def test_no_packs_at_all_is_all_of_them() -> None:
    out = io.StringIO()
    progress = FetchProgress(True, out)
    progress.tell({"bytes": 0, "bytes_of": 0, "packs": 0, "packs_of": 0})
    assert "100% (0/0)" in out.getvalue()
