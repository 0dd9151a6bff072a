# SPDX-License-Identifier: GPL-3.0-or-later
"""A list sends a mirror nowhere that is nearer than it is itself."""

from __future__ import annotations

import pytest

from gtfs.collection.near import may_name

FAR, NEAR, HERE, FILE = "https://h.example/c.asc", "http://10.1.2.3/c.asc", "http://127.0.0.1:8/c.asc", "/srv/c.asc"


@pytest.mark.parametrize(
    ("feed", "by"),
    [
        ("https://other.example/x", (FAR, NEAR, HERE, FILE)),
        ("gtfs:" + "ab" * 32, (FAR, NEAR, HERE, FILE)),
        ("http://192.168.0.1/reboot", (NEAR, HERE, FILE)),
        ("http://[fd00::1]/", (NEAR, HERE, FILE)),
        ("http://169.254.169.254/latest/meta-data", (HERE, FILE)),
        ("http://LocalHost./x", (HERE, FILE)),
        ("http://a.localhost/x", (HERE, FILE)),
        ("http://[::1]:80/x", (HERE, FILE)),
        ("http://0.0.0.0/", (HERE, FILE)),
        # As getaddrinfo(3) takes them.
        ("http://127.1/x", (HERE, FILE)),
        ("http://2130706433/x", (HERE, FILE)),
        ("http://0x7f000001/x", (HERE, FILE)),
        ("http://0177.0.0.1/x", (HERE, FILE)),
        ("http://0/x", (HERE, FILE)),
        ("http://10.1/x", (NEAR, HERE, FILE)),
        ("http://①②⑦.0.0.1/x", (HERE, FILE)),
        ("http://ｌｏｃａｌｈｏｓｔ/x", (HERE, FILE)),
        # And as IDNA does, which knows four dots.
        ("http://127\u30020\uff0e0\uff611/x", (HERE, FILE)),
        ("http://10\u30021\u30022\u30023/x", (NEAR, HERE, FILE)),
        ("http://localhost\u3002/x", (HERE, FILE)),
        ("http://[::ffff:127.0.0.1]/x", (HERE, FILE)),
        ("http://[::ffff:10.0.0.1]/x", (NEAR, HERE, FILE)),
        ("http://[64:ff9b::7f00:1]/x", (HERE, FILE)),
        ("http://127.example/x", (FAR, NEAR, HERE, FILE)),
        ("file:///etc/passwd", (FILE,)),
    ],
)
def test_a_list_names_nothing_that_is_nearer_than_itself(feed: str, by: tuple[str, ...]) -> None:
    assert tuple(source for source in (FAR, NEAR, HERE, FILE) if may_name(source, feed)) == by
