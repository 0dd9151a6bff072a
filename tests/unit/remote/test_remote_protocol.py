# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of gitremote-helpers(7), as git 2.39 says them and hears them."""

from __future__ import annotations

import io

import pytest

from gtfs.ids import SHA1, SHA256, BadId, ObjectId
from gtfs.remote.protocol import BadCommand, Conversation, Options, PartRefused, RefList, Want

A, B = ObjectId(b"\xaa" * 20), ObjectId(b"\xbb" * 20)


def conversation(said: bytes) -> tuple[Conversation, io.BytesIO, io.BytesIO]:
    stdin, stdout = io.BytesIO(said), io.BytesIO()
    return Conversation(stdin, stdout), stdin, stdout


def test_commands_end_at_an_empty_line_or_with_the_input() -> None:
    git, stdin, _ = conversation(b"capabilities\nlist\n\nmore\n")
    assert list(git.commands()) == [b"capabilities", b"list"]
    assert stdin.read() == b"more\n"
    assert list(conversation(b"list for-push")[0].commands()) == [b"list for-push"]


def test_a_batch_of_fetches_is_read_to_its_empty_line_and_no_further() -> None:
    git, stdin, _ = conversation(b"fetch %s refs/heads/a b\n\nlist\n" % (b"bb" * 20))
    wants = git.wants(b"fetch %s HEAD" % (b"aa" * 20))
    assert wants == [Want(A, b"HEAD"), Want(B, b"refs/heads/a b")]
    assert stdin.read() == b"list\n"


@pytest.mark.parametrize("line", [b"fetch", b"fetch " + b"aa" * 20, b"push a:b"])
def test_what_is_no_fetch_in_a_batch_is_refused(line: bytes) -> None:
    with pytest.raises(BadCommand):
        conversation(b"\n")[0].wants(line)


def test_a_want_that_is_no_object_id_is_refused() -> None:
    with pytest.raises(BadId):
        conversation(b"\n")[0].wants(b"fetch \xff\xfe refs/heads/a")


def test_an_answer_of_lines_ends_with_an_empty_one() -> None:
    git, _, stdout = conversation(b"")
    git.say([b"fetch", b"push"])
    git.say([b"ok"], ends=False)
    assert stdout.getvalue() == b"fetch\npush\n\nok\n"


def test_refs_are_listed_with_the_branch_that_head_names() -> None:
    listing = RefList(SHA1, {b"refs/tags/\xff": B, b"refs/heads/a": A}, b"refs/heads/a")
    assert list(listing.lines(with_format=False)) == [
        b"@refs/heads/a HEAD", b"aa" * 20 + b" refs/heads/a", b"bb" * 20 + b" refs/tags/\xff"
    ]  # fmt: skip
    assert listing.ref_of(b"HEAD") == b"refs/heads/a"


@pytest.mark.parametrize("head", [None, b"refs/heads/unborn"])
def test_a_head_that_names_no_listed_branch_is_not_listed(head: bytes | None) -> None:
    listing = RefList(SHA256, {b"refs/heads/a": A}, head)
    assert list(listing.lines(with_format=True)) == [b":object-format sha256", b"aa" * 20 + b" refs/heads/a"]
    assert listing.ref_of(b"HEAD") not in listing.refs


def test_options_are_taken_or_said_to_be_unknown() -> None:
    options = Options()
    said = [
        ("verbosity", "0"),
        ("progress", "true"),
        ("object-format", "true"),
        ("cloning", "true"),
        ("atomic", "true"),
    ]
    assert {options.set(name, value) for name, value in said} == {"ok"}
    assert (options.verbosity, options.progress, options.object_format) == (0, True, True)
    assert options.set("pushcert", "true") == "unsupported"
    assert options.set("verbosity", "loud") == "unsupported"


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("depth", "1", "--depth"),
        ("filter", "blob:none", "--filter"),
        ("deepen-since", "2020", "--shallow-since"),
        ("deepen-not", "refs/heads/old", "--shallow-exclude"),
    ],
)
def test_a_part_of_history_is_refused_by_the_name_that_was_typed(name: str, value: str, typed: str) -> None:
    with pytest.raises(PartRefused, match=f"^{typed} asks for a part"):
        Options().set(name, value)


def test_a_fetch_of_a_part_says_how_git_forgets_of_which() -> None:
    with pytest.raises(PartRefused, match=r"git config --unset remote\.NAME\.partialclonefilter"):
        Options().set("filter", "blob:none")


def test_what_git_says_of_parts_when_it_wants_all_is_taken() -> None:
    said = [("depth", "0"), ("deepen-relative", "false"), ("depth", "2147483647")]
    assert {Options().set(name, value) for name, value in said} == {"ok"}
