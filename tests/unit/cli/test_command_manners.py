# SPDX-License-Identifier: GPL-3.0-or-later
"""What people expect of any command: help that fits, hints for what is misspelt, one repository by the environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gtfs.cli import commands
from gtfs.cli.commands import cli
from gtfs.cli.nodeoptions import TABLE
from gtfs.cli.shape import REPOSITORY
from gtfs.mount.options import BadMountOption, read_options


def every(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from every(below, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    words = [*path[:1], "repo", *path[1:]] if path[:1] == ("trust",) and path[1:] else [*path]
    return run(*words, "--help").output


def run(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, words, prog_name="gtfs", env=env, terminal_width=80)


def at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command


@pytest.mark.parametrize("path", [*every()], ids=" ".join)
def test_help_fits_into_80_columns_and_no_summary_is_cut(path: tuple[str, ...]) -> None:
    said = help_of(path)
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"(\.\.\.|…)$", said.partition("Options:")[2], re.MULTILINE)


@pytest.mark.parametrize("path", [*every()], ids=" ".join)
def test_the_help_of_options_begins_in_one_column(path: tuple[str, ...]) -> None:
    lines = help_of(path).partition("Options:\n")[2].partition("\n\n")[0].splitlines()
    starts = {len(m[0]) for line in lines if (m := re.match(r"  -.*?\S  +(?=\S)|  {4,}(?=[^-\s])", line))}
    assert len(starts) == 1, lines


def test_every_command_that_prints_an_answer_prints_json() -> None:
    silent = {
        path
        for path in every()
        if not isinstance(at(path), click.Group) and not any("--json" in p.opts for p in at(path).params)
    }
    # seed says one line, and does not end.
    assert silent == {("mount",), ("umount",), ("seed", "run")}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("pubish", "x"), "did you mean gtfs publish?"),
        (("trust", "x", "lst"), "did you mean gtfs trust list?"),
        (("status", "--jsn", "x"), "--json"),
        (("init", "x", "--publish", "aut"), "auto"),
    ],
)
def test_what_is_misspelt_gets_a_hint(words: tuple[str, ...], hint: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert hint in result.output


def test_a_misspelt_verb_of_seed_is_no_repository_to_wait_for() -> None:
    done = run("seed", "ad", "demo.git")
    assert done.exit_code == 2 and "did you mean gtfs seed add?" in done.output


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("keys", "--help"), ("status", "{repo}")])
def test_a_full_disk_behind_standard_output_is_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path], check=True)
    command = [sys.executable, "-m", "gtfs.cli.main", *(word.format(repo=tmp_path) for word in words)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (7, "gtfs: No space left on device: standard output\n")


def test_whose_reader_has_gone_ends_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        command = [sys.executable, "-m", "gtfs.cli.main", "--help"]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""


def test_a_misspelt_word_of_o_gets_a_hint() -> None:
    with pytest.raises(BadMountOption, match="did you mean keyring"):
        read_options("keyrin=x", TABLE)


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("status", "--json"), ("keys",), ("publish",), ("rewind", "5"), ("rewind", "5", "--dry-run"),
        ("verify", "main"), ("trust", "list"), ("trust", "add", "--dry-run", __file__), ("torrent", "--out", "/x"),
        ("fsck",), ("pack", "--all", "-o", "/x"), ("refresh",), ("init",), ("sync",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_said_to_be_about_no_repository_is_about_that_of_the_environment(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(REPOSITORY, "/nonexistent/demo.git")
    assert commands.run(["gtfs", *words]) != 0
    assert "/nonexistent/demo.git" in capsys.readouterr().err


def test_a_repository_that_is_said_comes_before_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(REPOSITORY, "/nonexistent/demo.git")
    for words in (("status", "/said"), ("rewind", "/said", "5"), ("trust", "/said", "list"), ("mount", "/said", "/x")):
        assert commands.run(["gtfs", *words]) != 0
        said = capsys.readouterr().err
        assert "/said" in said and "demo.git" not in said


def test_without_one_a_missing_word_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["gtfs", "fsck"]) == 2
    assert "REPO" in capsys.readouterr().err
