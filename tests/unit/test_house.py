# SPDX-License-Identifier: GPL-3.0-or-later
"""The arrows of design.md §2: who may import whom, and in which folder each dependency lives."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gtfs
from gtfs.version import version

HOUSE = Path(gtfs.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))

BELOW_NODES = {"pack", "repo", "reel", "trust", "catalogue", "ingest", "swarm", "mount", "state", "view", "overview"}

# Each station and those of its neighbours that it may import (FREE is everybody's).
MAY_IMPORT = {
    "pack": set(),
    "reel": {"pack"},
    "repo": {"pack"},
    "trust": {"pack"},
    "catalogue": {"pack", "trust"},
    "ingest": {"pack", "repo", "reel", "trust"},
    "swarm": set(),
    "mount": {"pack"},
    "state": {"pack", "repo", "reel", "trust", "catalogue", "ingest"},
    "overview": set(),
    "view": {"pack", "repo", "reel", "ingest", "mount", "state"},
    "node": BELOW_NODES,
    "collection": {"pack", "repo", "trust", "catalogue", "state"},
    "daemon": BELOW_NODES | {"node", "collection"},
    "cli": BELOW_NODES | {"node", "collection", "daemon"},
    "remote": BELOW_NODES | {"node", "collection", "daemon", "cli"},
}
FREE = {"errors", "events", "ids", "durable", "feed", "version", "bencode", "metainfo", "layout", "nearness"}
FREE |= {"backoff", "counted"}

LIVES_IN = {
    "pyfuse3": {"mount"},
    "libtorrent": {"swarm"},
    "gnupg": {"trust"},
    "dulwich": {"pack"},
    "cryptography": {"swarm", "state", "trust"},
    "httpx": {"swarm", "node"},
    "h11": {"overview"},
    "debian": {"trust", "catalogue"},
    "trio": {"swarm", "overview", "mount", "view", "node", "daemon", "cli", "remote"},
    "click": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"cli"},
    "sqlite3": {"reel"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module)
    return found


def room(path: Path) -> str:
    parts = path.relative_to(HOUSE).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_go_one_way(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        if name.split(".")[0] != "gtfs":
            continue
        there = name.split(".")[1]
        if here and there not in FREE and there != here:
            assert there in MAY_IMPORT[here], f"{here} may not import {there}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_each_dependency_lives_in_its_folders(path: Path) -> None:
    for name in imports(path):
        homes = LIVES_IN.get(name.split(".")[0])
        assert homes is None or room(path) in homes, f"{name} does not belong in {room(path) or 'the top'}"


def test_state_and_what_is_below_load_neither_trio_nor_libtorrent() -> None:
    modules = [".".join(p.relative_to(HOUSE.parent).with_suffix("").parts) for p in MODULES if room(p) == "state"]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += "print(sorted({'trio', 'libtorrent', 'pyfuse3', 'httpx', 'click', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Other programs' words, where they tell a thing in no other way: Python's, pyfuse3's, git's, libtorrent's.
HEARS_OTHERS = {
    "cli/terminal.py": {"failed with No such file or directory", "start new thread"},
    "collection/found.py": {"Unnamed repository;"},
    "mount/lifetime.py": {"No such file"},
    "repo/unpack.py": {"error: object "},
    "swarm/alerts.py": {"outgoing connection"},
}


def sentences(node: ast.AST, names: dict[str, set[str]]) -> set[str]:
    """The texts of several words, and the reasons of errors, that a comparison's operand is."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip(" "):
        return {node.value}
    if isinstance(node, ast.Name):
        return names.get(node.id, set())
    if isinstance(node, ast.Attribute) and node.attr == "reason":
        return {ast.unparse(node)}
    return {text for child in getattr(node, "elts", ()) for text in sentences(child, names)}


def constants(module: ast.Module) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: sentences(node.value, {}) for t in targets if isinstance(t, ast.Name)}
    return found


def compared(module: ast.Module, names: dict[str, set[str]]) -> set[str]:
    operands: list[ast.AST] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Compare) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
            operands += [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            operands += [node.func.value, *node.args] if node.func.attr in ("startswith", "endswith") else []
    return {text for operand in operands for text in sentences(operand, names)}


def test_no_sentence_is_compared_to_know_what_it_means() -> None:
    modules = {str(path.relative_to(HOUSE)): ast.parse(path.read_text()) for path in MODULES}
    theirs = {"gtfs." + name.removesuffix(".py").replace("/", "."): constants(m) for name, m in modules.items()}
    found = {}
    for name, module in modules.items():
        names = constants(module)
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and node.module in theirs:
                names |= {a.asname or a.name: theirs[node.module].get(a.name, set()) for a in node.names}
        if said := compared(module, names):
            found[name] = said
    assert found == HEARS_OTHERS


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_the_version_stands_in_no_module(path: Path) -> None:
    text = path.read_text()
    assert version() not in text and f"{version().replace('.', '')}0" not in re.findall(r"\d+", text)
    assert path.name == "version.py" or "metadata.version" not in text


def stem(name: str) -> str:
    return re.sub(r"(ing|ers?|es|s|ed|e)\Z", "", name)


def is_near(one: str, other: str) -> bool:
    """Whether one letter more, less or another one makes one of the other, or nothing but an ending does."""
    if stem(one) == stem(other):
        return True
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        return sum(a != b for a, b in zip(short, long, strict=True)) <= 1
    return len(short) + 1 == len(long) and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def test_no_two_modules_of_a_folder_differ_by_one_letter_or_an_ending() -> None:
    assert is_near("sharing", "shares") and is_near("ref", "refs") and is_near("walk", "talk")
    # In cli/ a file has the name of its command.
    for folder in {path.parent for path in MODULES} - {HOUSE / "cli", HOUSE / "cli" / "work"}:
        names = [path.stem for path in folder.glob("*.py")]
        near = [(a, b) for a, b in itertools.combinations(sorted(names), 2) if is_near(a, b)]
        assert near == [], folder


def test_no_two_classes_of_the_house_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(HOUSE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


COUNTED = "packs|reels|refs|tags|repositories|objects|keys|commits|files|locks|peers|offers|attesters"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_no_log_says_one_things(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in ("log", "events"):
            for text in (each.value for each in ast.walk(node) if isinstance(each, ast.Constant)):
                many = re.search(rf"%d ([a-z]+ )?({COUNTED})\b", str(text))
                assert many is None, f"{text!r}: gtfs.counted says how many"


# What a parameter or a field of this name is, wherever it stands; and nothing else bears these types' names.
MEANS = {
    "state": {"State", "Holder"},  # a repository's; how far a pack or a reel has come is its stage
    "stage": {"PackStage", "ReelStage", "str"},
    "reel_torrents": {"ReelTorrents"},
    "fetches": {"ReelFetches"},
}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_word_means_one_thing(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name, kind = node.arg, ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, kind = node.target.id, ast.unparse(node.annotation)
        else:
            continue
        assert kind in MEANS.get(name, {kind}), f"{name}: {kind}"
        assert all(name == word for word, kinds in MEANS.items() if kind in kinds - {"str"}), f"{name}: {kind}"
