# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of ``.gtfs/refs``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gtfs.view.controlfiles import ControlFiles

OID = b"\x11" * 20


class Refs(dict[bytes, bytes]):
    """Counts how often all of them are looked through."""

    walks = 0

    def __iter__(self) -> Iterator[bytes]:
        self.walks += 1
        return super().__iter__()


@pytest.fixture
def news() -> SimpleNamespace:
    return SimpleNamespace(refs={})


@pytest.fixture
def control(news: SimpleNamespace) -> ControlFiles:
    state = SimpleNamespace(quarantine=SimpleNamespace(directory=Path("q")))
    return ControlFiles(state, SimpleNamespace(news=news), None, None, None, ())  # type: ignore[arg-type]


def test_a_directory_of_refs_has_what_is_below_it_and_nothing_beside_it(
    control: ControlFiles, news: SimpleNamespace
) -> None:
    assert control.names((b"refs",)) == [] and control.look((b"refs", b"heads")) is None
    names = (b"heads/x/a", b"heads/x/b/c", b"heads/x-y", b"heads/x0", b"heads/x.z/d", b"heads/\xff", b"tags/x")
    news.refs = dict.fromkeys([b"refs/" + name for name in names], OID)
    assert control.names((b"refs",)) == [b"heads", b"tags"]
    assert control.names((b"refs", b"heads")) == [b"x", b"x-y", b"x.z", b"x0", b"\xff"]
    assert control.names((b"refs", b"heads", b"x")) == [b"a", b"b"]
    kinds = {name: control.look((b"refs", b"heads", name)) for name in (b"x", b"x-y", b"x.z", b"x-", b"y")}
    assert {name: found and found.kind for name, found in kinds.items()} == {
        b"x": "dir", b"x-y": "link", b"x.z": "dir", b"x-": None, b"y": None,
    }  # fmt: skip
    news.refs = {b"refs/heads/y/z": OID}
    assert control.look((b"refs", b"heads", b"x")) is None and control.names((b"refs", b"heads")) == [b"y"]


def test_each_look_at_one_of_many_refs_does_not_look_at_all_of_them(
    control: ControlFiles, news: SimpleNamespace
) -> None:
    news.refs = Refs.fromkeys([b"refs/pull/%d/head" % number for number in range(100)], OID)
    assert len(control.names((b"refs", b"pull"))) == 100
    for number in range(100):
        place = (b"refs", b"pull", b"%d" % number)
        found = control.look(place)
        assert found is not None and found.kind == "dir" and control.names(place) == [b"head"]
    assert news.refs.walks == 1
