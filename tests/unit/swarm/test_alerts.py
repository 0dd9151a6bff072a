# SPDX-License-Identifier: GPL-3.0-or-later
"""What libtorrent says in bytes that are no UTF-8 ends nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libtorrent as lt
import pytest

from gtfs.swarm import alerts


def not_utf8() -> str:
    return b"Datei oder Verzeichnis nicht gefunden \xfc".decode()


def code(message: Any, value: int = 2) -> Any:
    return SimpleNamespace(message=message, value=lambda: value)


@pytest.mark.parametrize("kind", [lt.file_error_alert, lt.torrent_error_alert])
def test_an_error_of_the_system_in_any_language_is_one(kind: type) -> None:
    hashes = SimpleNamespace(v1=lt.sha1_hash(b"a" * 20))
    handle = SimpleNamespace(info_hashes=lambda: hashes)
    for message, reason in ((not_utf8, "error 2"), (lambda: "No such file", "No such file")):
        alert = SimpleNamespace(handle=handle, error=code(message), message=not_utf8, what=lambda: "file_error")
        assert alerts._TRANSLATIONS[kind](alert) == alerts.TorrentFailed(alerts.InfoHash(b"a" * 20), reason)


@pytest.mark.parametrize(("value", "error"), [(0, None), (19, "error 19")])
def test_an_added_torrents_error_is_one_too(value: int, error: str | None) -> None:
    params = SimpleNamespace(info_hashes=SimpleNamespace(v1=lt.sha1_hash(b"a" * 20)), ti=None)
    alert = SimpleNamespace(params=params, handle="it", error=code(not_utf8, value))
    assert alerts._added(alert) == alerts.Added(alerts.InfoHash(b"a" * 20), "it", error)
