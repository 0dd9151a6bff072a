# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents beside the pages: a front page of one look, links that lead somewhere, sections that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "doc").glob("*.md"))]
CODE = [
    p
    for top in ("gtfs", "tests", "contrib")
    for p in sorted((ROOT / top).rglob("*"))
    if p.is_file() and p.suffix != ".so"
]
FOREIGN = re.compile(r"RFC \d+ §[\d.]+(?:(?:,| and|;) §[\d.]+)*")
CITED = re.compile(r"§(\d+(?:\.\d+)?)")


def test_the_front_page_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_relative_link_and_picture_leads_to_a_file(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


def sections() -> set[str]:
    """Of doc/design.md: ``8`` for a heading, ``3.5`` or ``8.3`` for a paragraph or step below it with a number."""
    found, here = set(), ""
    for line in (ROOT / "doc" / "design.md").read_text().splitlines():
        if head := re.match(r"## (\d+)\. ", line):
            here = head[1]
            found.add(here)
        elif part := re.match(r"\*\*(\d+\.\d+) ", line):
            assert part[1].startswith(f"{here}."), line
            found.add(part[1])
        elif step := re.match(r"(\d+)\. \*\*", line):
            found.add(f"{here}.{step[1]}")
    return found


def cited() -> Iterator[tuple[Path, str]]:
    """Where a section of the design is named, and which; those of RFCs are not meant."""
    for path in [*CODE, *DOCUMENTS, *sorted((ROOT / "man").iterdir())]:
        if "__pycache__" in path.parts or "vectors" in path.parts:
            continue
        for number in CITED.findall(FOREIGN.sub("", path.read_text())):
            yield path, number


def test_every_section_of_the_design_that_is_cited_exists() -> None:
    there = sections()
    assert {"1", "3.0", "3.9", "8.1", "8.9", "14"} <= there
    lost = {f"{path.relative_to(ROOT)}: §{number}" for path, number in cited() if number not in there}
    assert not lost


def test_every_file_that_contributing_names_exists() -> None:
    for name in re.findall(r"`((?:gtfs|tests|contrib|man|doc)/[\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_every_folder_of_the_house_has_its_tests_in_the_map() -> None:
    mapped = re.findall(r"^\| `gtfs/(\w+)/` \| `tests/", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    folders = {p.parent.name for p in (ROOT / "gtfs").glob("*/__init__.py")}
    assert sorted(mapped) == sorted(folders)


def test_the_change_log_has_known_sections_in_order_and_dated_releases() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    for release in releases:
        head, _, body = release.partition("\n")
        assert head == "[Unreleased]" or re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head), head
        kinds = re.findall(r"^### (.*)$", body, re.MULTILINE)
        known = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert kinds == [kind for kind in known if kind in kinds], head
        for part in re.split(r"^### \w+\n\n", body, flags=re.MULTILINE)[1:]:
            assert "\n\n" not in part.rstrip("\n"), f"{head}: an empty line within a list"
    assert releases[0].startswith("[Unreleased]\n")
    assert releases[-1].startswith("[0.1.0] - ")


def test_pictures_of_pages_are_few_small_and_shown_by_a_document() -> None:
    paths = sorted((ROOT / "doc" / "pictures").iterdir())
    assert 0 < len(paths) <= 6
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size <= 60_000, path.name
        texts = (ROOT / "README.md").read_text() + (ROOT / "contrib" / "recipes" / "README.md").read_text()
        assert f"doc/pictures/{path.name})" in texts, path.name


@pytest.mark.parametrize("path", sorted((ROOT / "doc").glob("*.svg")), ids=lambda p: p.name)
def test_a_picture_has_a_title_brings_its_ground_and_needs_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert "<title>" in text and 'class="ground"' in text and "prefers-color-scheme: dark" in text
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
