# SPDX-License-Identifier: GPL-3.0-or-later
"""Every path of the state directory stands in one module, and the pages list them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gtfs
from gtfs.ids import ReelName
from gtfs.layout import Layout

HOUSE = Path(gtfs.__file__).parent
ROOT = HOUSE.parent
PATHS = ("layout.py", "places.py")  # of a repository, and of a daemon
OTHERS = sorted(path for path in HOUSE.rglob("*.py") if path.name not in PATHS)
HERE = Layout(Path("/"))
ENTRIES = {path for path in vars(HERE).values() if path != HERE.root}


FILES = (
    HERE.accepted_faults,
    HERE.unlisted_faults,
    HERE.allowed_signers,
    HERE.followed_ring,
    HERE.moving,
    HERE.outstanding,
)


def shown(path: Path) -> str:
    """As the pages write an entry: directories end in a slash."""
    is_directory = not path.suffix and path.name.endswith(
        ("s", "ing", "catalogue", "quarantine", "pointed", "spool", "attestation", "inbox")
    )
    return path.name + ("/" if is_directory and path not in FILES else "")


TOP = {shown(path) for path in ENTRIES if path.parent == HERE.root} | {"batch-*.tmp"}


def joined(path: Path) -> Iterator[tuple[ast.expr, str | None]]:
    """What a module joins onto which expression with ``/``; None where it is no text that stands in the module."""
    tree = ast.parse(path.read_text())
    texts = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            right = node.right
            value = right.value if isinstance(right, ast.Constant) else None
            yield node.left, value if not isinstance(right, ast.Name) else texts.get(right.id)


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: str(p.relative_to(HOUSE)))
def test_no_other_module_joins_a_path_of_the_state_directory(path: Path) -> None:
    names = {entry.name for entry in ENTRIES} - {HERE.latest.name} | {"gtfs"}
    for left, name in joined(path):
        assert name not in names, f"{ast.unparse(left)} / {name!r}: Layout has it"
        assert not (isinstance(left, ast.Attribute) and left.attr in ("state_directory", "root", "reels", "keys")), (
            ast.unparse(left)
        )


def test_a_reels_files_lie_side_by_side() -> None:
    name = ReelName("a" * 64)
    names = [path.name for path in (HERE.reel(name), HERE.metainfo(name), HERE.table(name), HERE.resume(name))]
    assert names == [name + suffix for suffix in (".reel", ".torrent", ".table", ".resume")]
    assert {path.parent for path in (HERE.reel(name), HERE.metainfo(name), HERE.table(name))} == {HERE.reels}


def test_the_reels_of_which_there_is_a_file_are_named(tmp_path: Path) -> None:
    layout = Layout.in_repository(tmp_path)
    layout.reels.mkdir(parents=True)
    for name in ("b.reel", "a.reel", "a.torrent", "c.table"):
        (layout.reels / name).touch()
    assert layout.reel_names() == ["a", "b"]
    layout.batch(7).touch()
    assert list(layout.batches()) == [layout.batch(7)]


def test_the_design_lists_every_entry_of_the_state_directory() -> None:
    text = (
        (ROOT / "doc" / "design.md")
        .read_text()
        .partition("## 7. State on disk")[2]
        .partition("\nThe directory is 0700")[0]
    )
    items = text[text.index("\n- ") :]
    told = set(re.findall(r"`([\w.*-]+/?)`", items))
    assert told == TOP


def test_the_page_lists_every_entry_of_the_state_directory() -> None:
    text = (ROOT / "man" / "gtfs.1").read_text().partition(".Sh FILES")[2].partition(".Ss Refs of its own")[0]
    told = {name for line in re.findall(r"^\.It Pa (.*)$", text, re.MULTILINE) for name in line.split(" , ")}
    assert told == TOP
    for inner in (path.name for path in ENTRIES if path.parent != HERE.root):
        assert f".Pa {inner}" in text
