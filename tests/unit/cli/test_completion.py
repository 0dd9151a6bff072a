# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion is that of the commands there are, and asks nobody: a Tab starts no gtfs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMPLETION = ROOT / "contrib" / "completion"

# As readline hands it over: words broken at = and :, too.
TRY = """
. contrib/completion/gtfs.bash
compopt() { :; }
COMP_LINE=$1 COMP_POINT=${#1}
read -ra COMP_WORDS <<<"$(sed 's/[=:]\\+/ & /g' <<<"$1")"
[[ $1 != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
PATH=/nonexistent
_gtfs gtfs
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(line: str) -> list[str]:
    done = subprocess.run(["bash", "-c", TRY, "bash", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def fish(line: str) -> list[str]:
    script = "source contrib/completion/gtfs.fish; complete -C $argv[1]"
    done = subprocess.run(["fish", "-N", "-c", script, line], cwd=ROOT, capture_output=True, text=True, check=True)
    return [found.split("\t")[0] for found in done.stdout.splitlines()]


def test_completion_is_what_the_commands_and_the_options_say(tmp_path: Path) -> None:
    subprocess.run([sys.executable, COMPLETION / "generate", tmp_path], check=True)
    for name in ("gtfs.bash", "_gtfs", "gtfs.fish"):
        stale = f"{name} is of other commands: python3 contrib/completion/generate"
        assert (tmp_path / name).read_text() == (COMPLETION / name).read_text(), stale


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gtfs pu", ["publish"]),
        ("gtfs init --sign", ["--sign-key", "--signer", "--signing-subkey"]),
        ("gtfs init --publish ", ["auto", "tags", "manual"]),
        ("gtfs init --publish=a", ["auto"]),
        ("gtfs mount -o ro,inter", ["ro,interface="]),
        ("gtfs mount a b -o ro,encryption=", ["required", "enabled", "disabled"]),
        ("gtfs mount a b -o encryption=required,inter", ["required,interface="]),
        ("gtfs sync a -o repo=contrib/ch", ["contrib/check"]),
        ("gtfs trust demo.git li", ["list"]),
        ("gtfs trust demo.git remove --f", ["--force"]),
        ("gtfs status contrib/com", ["contrib/completion"]),
        ("gtfs -v stat", ["status"]),
    ],
)
def test_bash_completes_commands_options_and_their_values(line: str, found: list[str]) -> None:
    assert bash(line) == found


def test_bash_completes_the_mirrors_that_gtfs_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gtfs" / "demo.git").mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert bash(f"gtfs status {tmp_path}/gtfs/d") == [f"{tmp_path}/gtfs/demo.git"] * 2
    assert str(tmp_path / "gtfs" / "demo.git") in bash("gtfs sync ")


@pytest.mark.parametrize("complete", [bash, fish])
def test_a_collection_that_is_followed_is_completed_by_its_name(
    complete: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("debian", "kernel"):
        (tmp_path / "gtfs" / "collections" / name).mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert complete("gtfs collection list ker") == complete("gtfs collection prune ker") == ["kernel"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gtfs pu", {"publish"}),
        ("gtfs init --sign", {"--sign-key", "--signer", "--signing-subkey"}),
        ("gtfs init --publish ", {"auto", "tags", "manual"}),
        ("gtfs mount a b -o ro,inter", {"ro,interface="}),
        ("gtfs mount a b -o ro,encryption=", {"ro,encryption=" + w for w in ("required", "enabled", "disabled")}),
        ("gtfs trust demo.git remove --f", {"--force"}),
    ],
)
def test_fish_completes_commands_options_and_their_values(line: str, found: set[str]) -> None:
    assert set(fish(line)) == found


def test_the_file_for_zsh_is_sound() -> None:
    done = subprocess.run(["zsh", "-n", COMPLETION / "_gtfs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
