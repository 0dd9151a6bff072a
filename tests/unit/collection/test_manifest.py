# SPDX-License-Identifier: GPL-3.0-or-later
"""Grokmirror's manifest, read and written, and cgit's list."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.collection import manifest
from gtfs.collection.document import RepositoryEntry, Signing
from gtfs.collection.manifest import BadManifest, feed_beside, manifest_of, pack_manifest, projects_of, read_manifest
from gtfs.feed import BadFeed
from gtfs.ids import Fingerprint

ENTRY = RepositoryEntry(
    "pub/a b.git", "demo", 3, 1_800_000_000, Signing((Fingerprint("A" * 40),)), ("x",), None, b"refs/heads/m"
)


def test_what_is_written_is_read_back_and_is_the_same_each_time() -> None:
    data = pack_manifest(manifest_of([ENTRY], {"pub/a b.git": "0" * 40}))
    assert (
        read_manifest(data) == ["pub/a b.git"]
        and pack_manifest(manifest_of([ENTRY], {"pub/a b.git": "0" * 40})) == data
    )
    (said,) = json.loads(gzip.decompress(data)).values()
    assert said == {
        "description": "",
        "fingerprint": "0" * 40,
        "head": "ref: refs/heads/m",
        "modified": 1_800_000_000,
        "reference": None,
    }


def test_cgit_is_given_a_path_in_each_line() -> None:
    assert projects_of([ENTRY]) == b"pub/a b.git\n"


def test_of_a_manifest_the_names_alone_count() -> None:
    data = json.dumps({"/b.git": {"fingerprint": "x", "symlinks": ["/../../etc"]}, "a": {}}).encode()
    assert read_manifest(data) == read_manifest(gzip.compress(data)) == ["a", "b.git"]
    halves = gzip.compress(data[:10]) + gzip.compress(data[10:])
    assert read_manifest(halves) == ["a", "b.git"]


@pytest.mark.parametrize("name", ["/../x", "//x", "/x/.git", "/a\\b", "/a\nb", "", "/"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BadManifest, match="is no name of a repository"):
        read_manifest(json.dumps({name: {}}).encode())


def test_two_names_that_are_one_place_are_refused() -> None:
    with pytest.raises(BadManifest, match="cannot both be"):
        read_manifest(b'{"/a.git": {}, "/A.git": {}}')


@pytest.mark.parametrize("value", [b"[],", b"{},", b"[["])
def test_values_without_end_are_refused_before_they_are_read(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(manifest.json, "loads")
    with pytest.raises(BadManifest, match="over the limit manifest: more than 1600000 values"):
        read_manifest(gzip.compress(b'{"a": {"symlinks": [' + value * 1_600_000))


def test_a_gzip_bomb_ends_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * (manifest.UNPACKED_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(BadManifest, match="over the limit manifest"):
        read_manifest(bomb)
    part = gzip.compress(b" " * (manifest.UNPACKED_BYTES // 4))
    with pytest.raises(BadManifest, match="over the limit manifest"):
        read_manifest(part * 5)


def test_a_manifest_of_endless_parts_is_refused() -> None:
    # Each of them would copy what is still to come.
    with pytest.raises(BadManifest, match="over the limit manifest: more than 64 gzipped parts"):
        read_manifest(gzip.compress(b"{}") + gzip.compress(b"") * 64)
    assert read_manifest(gzip.compress(b"{}") + gzip.compress(b"") * 63) == []


def test_more_repositories_than_the_limit_are_refused() -> None:
    data = json.dumps({f"/r{n}": {} for n in range(manifest.ENTRIES + 1)}).encode()
    with pytest.raises(BadManifest, match="over the limit repositories: 100001"):
        read_manifest(data)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"/a": 1}', b"\x1f\x8b", b"[" * 99999, gzip.compress(b"{}", mtime=0)[:-9]]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        read_manifest(data)


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_read(data: bytes) -> None:
    for rubbish in (data, gzip.compress(data), gzip.compress(b"{}") + data):
        try:
            read_manifest(rubbish)
        except BadManifest as e:
            assert str(e).isprintable()


@pytest.mark.parametrize(
    ("source", "template", "feed"),
    [
        ("https://h/manifest.js.gz", None, "https://h/a/b%20c.git/gtfs/catalogue/latest.asc"),
        ("https://h:1/x/manifest.js.gz?y#z", None, "https://h:1/x/a/b%20c.git/gtfs/catalogue/latest.asc"),
        ("/srv/git/manifest.js.gz", None, "file:///srv/git/a/b%20c.git/gtfs/catalogue/latest.asc"),
        ("https://h/manifest.js.gz", "https://f/{}.asc", "https://f/a/b%20c.git.asc"),
    ],
)
def test_a_catalogue_is_looked_for_beside_the_manifest_or_by_a_template(
    source: str, template: str | None, feed: str
) -> None:
    assert feed_beside(source, "a/b c.git", template) == feed


def test_a_manifest_is_not_in_the_dht() -> None:
    with pytest.raises(BadFeed):
        feed_beside("gtfs:" + "ab" * 32, "a", None)
