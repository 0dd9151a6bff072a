# SPDX-License-Identifier: GPL-3.0-or-later
"""What a `.gitmodules` may say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ingest.gitmodules import find_faults

GOOD = b"""\
; a comment
[submodule "lib/one"]
\tpath = lib/one # another
\turl = "https://example.org/a b;c.git"
\tupdate = rebase
\tshallow
[core]
\turl = -not-a-submodule
[Submodule "two"] path = two
[submodule.three]
\turl = ../three.git
\tbranch = a\\
b
"""


def test_ordinary_files_are_good_also_with_crlf() -> None:
    for data in (GOOD, GOOD.replace(b"\n", b"\r\n"), b"", b"\xef\xbb\xbf[a]\nb", GOOD.rstrip(b"\n")):
        assert find_faults(data) == ()


@pytest.mark.parametrize(
    ("section", "line", "fault"),
    [
        (b'[submodule "x"]', b"url = -u./x", "gitmodulesUrl"),
        (b'[submodule "x"]', b'URL = "-u"', "gitmodulesUrl"),
        (b"[submodule.x]", b"url=-u", "gitmodulesUrl"),
        (b'[SUBMODULE "x"] [a]\n[submodule "y"]', b"url = -u", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = a\\nb", "gitmodulesUrl"),
        (b'[submodule "x"]', b'url = "a\r"', "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = ../a%0ahost", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = git://a%0d", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = https:///x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = https://?x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = http::x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = http:///a/http://host/x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = https://a@/x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = https://host%0a/x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = ./../../:host/x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"url = ..//host/x", "gitmodulesUrl"),
        (b'[submodule "x"]', b"path = -x", "gitmodulesPath"),
        (b'[submodule "x"]', b'path = "sub\r"', "gitmodulesPath"),
        (b'[submodule "x"]', b"path = sub\\t", "gitmodulesPath"),
        (b'[submodule "x"]', b"update = !sh", "gitmodulesUpdate"),
        (b'[submodule ""]', b"path = x", "gitmodulesName"),
        (b'[submodule "../../x"]', b"path = x", "gitmodulesName"),
        (b'[submodule "a\\\\..\\\\b"]', b"path = x", "gitmodulesName"),
        (b'[submodule "a\rb"]', b"path = x", "gitmodulesName"),
    ],
)
def test_what_may_not_be_said(section: bytes, line: bytes, fault: str) -> None:
    (found,) = find_faults(section + b"\n\t" + line + b"\n")
    assert found.startswith(fault + ":")
    assert find_faults(GOOD + section + line) == (found,)


@pytest.mark.parametrize(
    "url", [b"https://a@b/c", b"https://a:b@c:1/d", b"http::http://h/x", b"ssh:///x", b"../a:b", b"host:a/b", b"/a/b"]
)
def test_urls_that_lead_where_they_say_are_good(url: bytes) -> None:
    assert find_faults(b'[submodule "x"]\n\turl = ' + url) == ()


@pytest.mark.parametrize("data", [b"<<<<<<< HEAD\n", b"[submodule", b'[a]\nb = "c\n', b"[a]\nb = \\q\n", b"[a]\nb c\n"])
def test_what_is_no_configuration_is_found(data: bytes) -> None:
    (fault,) = find_faults(data)
    assert fault.startswith("gitmodulesParse:")


def test_what_stands_before_a_mistake_counts() -> None:
    found = find_faults(b'[submodule "x"]\nurl = -u\n<<<<')
    assert [text.partition(":")[0] for text in found] == ["gitmodulesUrl", "gitmodulesParse"]


def test_a_large_file_is_refused() -> None:
    (fault,) = find_faults(b"#" * (1 << 20) + b"\n")
    assert fault.startswith("gitmodulesLarge:")


def test_many_keys_below_a_long_name_take_no_longer_than_others() -> None:
    n = 60_000
    began_s = time.process_time()
    find_faults(b'[submodule "' + b"/" * n + b'"]\n' + b"a\n" * n)
    assert time.process_time() - began_s < 60  # well under one, where once for each key takes minutes


@given(st.binary() | st.text('[]"\\\na= \r#').map(str.encode))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    find_faults(data)
