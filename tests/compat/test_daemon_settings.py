# SPDX-License-Identifier: GPL-3.0-or-later
"""gtfs.conf is read as git would read it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gtfs.repo.gitsyntax import BadSyntax, Setting, read_syntax


def ours(text: str) -> list[tuple[str, str | None]] | None:
    try:
        found = [item for item in read_syntax(text) if isinstance(item, Setting)]
    except BadSyntax:
        return None
    names = (s.section + ("" if s.name is None else "." + s.name) + "." + s.key for s in found)
    return [(name, s.value) for name, s in zip(names, found, strict=True)]


def gits(path: Path, text: str) -> list[tuple[str, str | None]] | None:
    path.write_bytes(os.fsencode(text))
    done = subprocess.run(["git", "config", "--file", path, "--list", "-z"], capture_output=True, check=False)
    if done.returncode:
        return None
    items = os.fsdecode(done.stdout).split("\0")[:-1]
    return [(i.partition("\n")[0], i.partition("\n")[2] if "\n" in i else None) for i in items]


LINES = st.lists(
    st.sampled_from(
        [
            "[a]",
            '[a "b"]',
            '[a "b\\"\\c d"]',
            "[a.b]",
            "[A]k=v",
            "k",
            "k = v",
            "K-2=v  w ; c",
            "k = #c",
            'k = " v "',
            "k= v",
        ]
        + [
            'k = a"b ;"c',
            "k = a\\",
            "  more",
            'k=\\n\\t\\\\\\"',
            "k=\\q",
            'k="',
            "; c",
            "# c",
            "",
            "\t",
            "k c",
            "k = v\r",
        ]
        + [
            '[a  "b"]',
            '[a "b" ]',
            "[a b]",
            "[]",
            "[a",
            "1=2",
            "k.l=1",
            "k =\tv\t",
            "é = 1",
            "k = é",
            "[a]k",
            "k = a  b",
        ]
    ),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(LINES)
@example(["[a]", "k = a\\", "  more ; c"])
def test_what_git_reads_is_read_and_what_it_refuses_is_refused(tmp_path: Path, lines: list[str]) -> None:
    text = "\n".join(["[s]", *lines])  # git reads keys before any section, too
    theirs = gits(tmp_path / "c", text)
    assert ours(text) == theirs


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " ", "\\"])
def test_the_end_of_a_file_ends_a_value(tmp_path: Path, end: str) -> None:
    text = "[a]\nk = v" + end
    assert ours(text) == gits(tmp_path / "c", text)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert ours("\ufeff[a]\nk=v") == gits(tmp_path / "c", "\ufeff[a]\nk=v") == [("a.k", "v")]


def test_each_value_has_its_line() -> None:
    found = list(read_syntax('# c\n[a "b"]\nk = 1 \\\n 2\n\n[c] l = 3\n'))
    assert [(type(item).__name__, item.line) for item in found] == [
        ("Heading", 2), ("Setting", 3), ("Heading", 6), ("Setting", 6)
    ]  # fmt: skip
