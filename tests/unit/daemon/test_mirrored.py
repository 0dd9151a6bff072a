# SPDX-License-Identifier: GPL-3.0-or-later
"""A drop-in is written whole, for the daemon to read, or nothing is other than it was."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.daemon import mirrored
from gtfs.daemon.conf import OptionsCheck, read_configuration
from gtfs.daemon.mirrored import NotMirrored, drop_in, drop_in_text, ring_beside, write_drop_in
from gtfs.daemon.places import Places

CHECK = OptionsCheck(lambda _words: None, lambda _words: None)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "etc" / "gtfs.conf", tmp_path / "data", tmp_path / "run")


@pytest.fixture
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def write(places: Places, name: str, directory: str, ring: bytes | None = None) -> bool:
    text = drop_in_text(name, f"https://h.example/{name}", Path(directory), ())
    return write_drop_in(places, CHECK, drop_in(places, name), text, ring)


def everything(places: Places) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in places.drop_ins.iterdir()}


def test_whatever_the_umask_is_the_daemons_user_reads_it(places: Places, closed_umask: None) -> None:
    write(places, "a", "/srv/a.git", b"ring")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in places.drop_ins.iterdir()}
    assert modes == {"mirror-a.conf": 0o644, "mirror-a.gpg": 0o644}
    assert stat.S_IMODE(places.drop_ins.stat().st_mode) == stat.S_IMODE(places.config.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("directory", ["/srv/b.git/within", "/srv"])
def test_a_drop_in_that_would_push_out_another_is_not_written(places: Places, directory: str) -> None:
    write(places, "b", "/srv/b.git")  # its file is read after that of a
    before = everything(places)
    with pytest.raises(NotMirrored, match=r"so: nothing of .*/mirror-b.conf would count: /srv/b.git "):
        write(places, "a", directory, b"ring")
    assert everything(places) == before and read_configuration(places, CHECK).troubles == ()


def test_one_that_cannot_stand_leaves_what_was_there_its_ring_too(places: Places) -> None:
    write(places, "a", "/srv/a.git")
    write(places, "b", "/srv/b.git", b"ring")
    before = everything(places)
    with pytest.raises(NotMirrored, match=r"mirror-b.conf cannot be written so: /srv/a.git is the repository of"):
        write(places, "b", "/srv/a.git", b"another ring")
    assert everything(places) == before


def test_what_ends_it_halfway_leaves_nothing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    write(places, "a", "/srv/a.git")
    before, replace_file = everything(places), mirrored.replace_file

    def ends(path: Path, *given: object, **more: object) -> None:
        replace_file(path, *given, **more)  # type: ignore[arg-type]
        if path.suffix == ".conf":
            raise KeyboardInterrupt

    monkeypatch.setattr(mirrored, "replace_file", ends)
    with pytest.raises(KeyboardInterrupt):
        write(places, "b", "/srv/b.git", b"ring")
    assert everything(places) == before


def test_the_trouble_of_another_file_is_no_reason(places: Places) -> None:
    places.drop_ins.mkdir(parents=True)
    (places.drop_ins / "z.conf").write_text("[nonsense]\n")
    assert write(places, "a", "/srv/a.git") and not write(places, "a", "/srv/a.git")


def test_the_ring_goes_once_it_is_not_needed(places: Places) -> None:
    write(places, "a", "/srv/a.git", b"ring")
    assert ring_beside(drop_in(places, "a")).read_bytes() == b"ring"
    write(places, "a", "/srv/other.git")
    assert not ring_beside(drop_in(places, "a")).exists()
