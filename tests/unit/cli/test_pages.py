# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages say what the code does: every command, option, key, exit code and JSON key, and no other."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import click
import pytest
import trio

import gtfs
from gtfs.catalogue.accept import Accepted
from gtfs.catalogue.document import Catalogue
from gtfs.cli.commands import cli
from gtfs.cli.nodeoptions import TABLE, default_text
from gtfs.cli.shape import EXIT_STATUS
from gtfs.errors import GtfsError
from gtfs.feed import FileFeed
from gtfs.ids import SHA1, Fingerprint, InfoHash, ObjectId, ReelName
from gtfs.ingest.quorum import Quorum
from gtfs.mount import options as mount_options
from gtfs.mount.options import read_options
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.status import describe_peer, describe_sync
from gtfs.node.sync import SyncReport
from gtfs.overview.health import (
    FeedHealth,
    PublishedVersion,
    ReelHealth,
    RefHeldBack,
    RefusedFile,
    RepositoryHealth,
)
from gtfs.overview.page import Shown
from gtfs.overview.snapshot import status_document
from gtfs.overview.traffic import Traffic
from gtfs.pack.limits import LIMITS, Limits, key_of
from gtfs.reel.index import PackStage
from gtfs.repo.repository import create_repository
from gtfs.state.announcesettings import Settings
from gtfs.state.control import NodeFailed
from gtfs.state.describe import describe_announcing, describe_publishing, describe_quorum, describe_state
from gtfs.state.explain import explain
from gtfs.state.outstanding import Outstanding
from gtfs.state.state import State
from gtfs.swarm.copies import Copies
from gtfs.swarm.peers import PeerStatus
from gtfs.swarm.pieces import SwarmError

HOUSE = Path(gtfs.__file__).parent
ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "man").glob("*.[1-8]"))
COMMANDS = sorted(cli.commands)
FLAG = re.compile(r"\bFl (-?[A-Za-z][A-Za-z0-9-]*)")
REEL = ReelName("ab" * 32)


def page(name: str) -> str:
    return (ROOT / "man" / name).read_text()


def part(text: str, name: str, marks: str) -> str:
    """What stands below the heading ``name``, up to the next one of ``marks``."""
    found = re.search(rf"^\.S[hs] {re.escape(name)}\n(.*?)(?=^\.(?:{marks}) |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {name}"
    return found[1]


def section(text: str, name: str) -> str:
    return part(text, name, "Sh")


def subsection(text: str, name: str) -> str:
    return part(text, name, "Sh|Ss")


def items(text: str) -> str:
    """The heads of list items."""
    return "\n".join(line for line in text.splitlines() if line.startswith(".It "))


def marked(text: str) -> set[str]:
    """Words that are marked as literal commands or keys."""
    lines = [line for line in text.splitlines() if line.startswith((".It Cm", ".Cm"))]
    return {word for line in lines for word in re.findall(r"[\w-]+", re.sub(r"^\.(It )?Cm ", "", line))} - {"Cm"}


def flags_of(command: click.Command, *, hidden: bool = False) -> set[str]:
    params = list(command.params)
    if isinstance(command, click.Group) and command is not cli:  # of all that it groups
        params += [p for below in command.commands.values() for p in below.params]
    found = [o for p in params if isinstance(p, click.Option) and (hidden or not p.hidden) for o in p.opts]
    return {o[1:] for o in found}


def test_every_command_has_a_subsection_and_every_subsection_is_a_command() -> None:
    heads = re.findall(r"^\.Ss (.*)$", section(page("gtfs.1"), "COMMANDS"), re.MULTILINE)
    assert sorted(heads) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_those_of_its_page(name: str) -> None:
    text = subsection(page("gtfs.1"), name)
    assert set(FLAG.findall(items(text))) == flags_of(cli.commands[name])
    assert set(FLAG.findall(text)) <= flags_of(cli.commands[name])
    assert re.search(rf"^\.Cm {name}$", text, re.MULTILINE)


def test_the_options_of_every_command_are_those_of_the_group() -> None:
    text = subsection(page("gtfs.1"), "Options of every command")
    assert set(FLAG.findall(items(text))) == flags_of(cli) | {"h", "-help"}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_no_page_names_an_option_that_does_not_exist(path: Path) -> None:
    known = flags_of(cli) | {"h", "-help"}
    for command in cli.commands.values():
        known |= flags_of(command, hidden=True)
    assert set(FLAG.findall(path.read_text())) <= known


def test_every_o_key_is_an_item_and_no_other() -> None:
    text = section(page("mount.fuse.gtfs.8"), "OPTIONS")
    heads = items(subsection(text, "Of the mount")) + "\n" + items(subsection(text, "Of the node"))
    keys = re.findall(r"\bCm (\w+)", heads)
    assert sorted(keys) == sorted(TABLE)


def test_the_default_of_every_option_is_told() -> None:
    text = section(page("mount.fuse.gtfs.8"), "OPTIONS")
    for name, option in TABLE.items():
        if default := default_text(option):
            item = re.search(rf"^\.It [^\n]*\bCm {name}\b[^\n]*\n(.*?)(?=^\.It |^\.El)", text, re.MULTILINE | re.DOTALL)
            assert item and re.search(rf"(?<!\w){re.escape(default)}(?!\w)", item[1]), (name, default)


def test_what_is_said_for_every_file_system_is_taken_and_told() -> None:
    text = subsection(page("mount.fuse.gtfs.8"), "Of every file system")
    told = marked(text)
    labels = set(mount_options._LABELS)
    read_options(",".join(f"{name}=x" if name in labels else name for name in told), TABLE)
    assert told == mount_options._IGNORED | mount_options._KERNEL | labels


def test_every_exit_code_is_told() -> None:
    text = section(page("gtfs.1"), "EXIT STATUS")
    told = re.findall(r"^\.It (\d+)$", text, re.MULTILINE)
    assert told == [str(code) for code in EXIT_STATUS]


def errors(of: type[GtfsError]) -> Iterator[type[GtfsError]]:
    yield of
    for error in of.__subclasses__():
        yield from errors(error)


def test_every_error_has_an_exit_code_that_is_told() -> None:
    for module in pkgutil.walk_packages(gtfs.__path__, "gtfs."):
        importlib.import_module(module.name)
    told = set(re.findall(r"^\.It (\d+)$", section(page("gtfs.1"), "EXIT STATUS"), re.MULTILINE))
    assert {str(error.fault.exit_code) for error in errors(GtfsError)} <= told
    # It follows from whom the error blames; another process's answer alone brings its own.
    assert {error for error in errors(GtfsError) if "exit_code" in vars(error)} == {GtfsError, NodeFailed}


def held() -> Accepted:
    signers = (Fingerprint("A" * 40),)
    refs = {b"refs/heads/main": ObjectId(b"\1" * 20)}
    return Accepted(Catalogue("demo", 1, None, 1_800_000_000, 1_900_000_000, signers, refs=refs), b"", "0" * 64)


class StandInTorrent:
    """A reel in the swarm, where there is no swarm."""

    trouble = None
    copies = Copies()

    def statistics(self) -> SimpleNamespace:
        return SimpleNamespace(
            peers=1, downloaded_bytes=2, uploaded_bytes=3, ever_downloaded_bytes=4, ever_uploaded_bytes=5, trackers={}
        )

    def local_bytes(self) -> int:
        return 4


def keys(value: Any, named_by_data: tuple[str, ...]) -> Iterator[str]:
    """Every key at any depth, but not those of objects whose keys are names of reels, refs or packs."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item, named_by_data)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield key
            if key in named_by_data and isinstance(below, dict):
                yield from (k for item in below.values() for k in keys(item, named_by_data))
            else:
                yield from keys(below, named_by_data)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(create_repository(tmp_path / "r.git", SHA1)) as opened:
        opened.held = held()
        (tmp_path / "bad").write_bytes(b"bad")
        opened.quarantine.keep(tmp_path / "bad", ObjectId(bytes(20)), "it is bad")
        yield opened


def json_page() -> str:
    """What `gtfs.node.status` has; what commands alone print is compared in tests/compat/test_json.py."""
    return "".join(subsection(page("gtfs.1"), f"Of {name}") for name in ("status", "sync", "verify"))


def test_every_key_of_the_state_of_a_node_is_told(state: State) -> None:
    found = set(keys(describe_state(state), ()))
    assert {"repository", "valid_until", "reason", "known"} <= found
    assert found <= marked(json_page())


def test_every_key_of_status_and_sync_is_told_and_no_other(state: State) -> None:
    reel = state.index.reels.put(REEL, InfoHash(bytes(20)), 10, 1, 1, "remote")

    async def status() -> dict[str, Any]:
        feeds = (FileFeed("x", Path("/x")),)
        async with open_node(state, NodeOptions(offline=True, feeds=feeds, attesters=feeds)) as node:
            node.reel_torrents._torrents[reel] = StandInTorrent()  # type: ignore[assignment]
            return node.status()

    found = set(keys(trio.run(status), ("reels", "trackers"))) - {REEL}
    found |= set(describe_quorum(Quorum(2, (), ())))  # of a ref that waits for sign-offs
    failed, mailed = Outstanding(1, 2, 3, "no"), Settings(Path("/box"), None, "sendmail")
    told = describe_publishing("auto", failed, None, describe_announcing(state.layout, mailed))
    found |= set(keys(told, ())) | {"publish"}  # of a publisher
    # What needs peers, or a limit.
    peer = PeerStatus("192.0.2.1", 1, "x", "peer", True, False, 0.5, 1, 2, 3, 4)
    found |= set(describe_peer(peer)) | {"reel", "cache", "limit", "used"}
    found |= set(keys(explain(state, ["main"]), ()))
    report = SyncReport(missing={REEL: SwarmError("no")})
    found |= set(keys(describe_sync(report), ("missing",))) - {REEL} | {"feeds"} | set(get_args(PackStage))
    # What only a node in the swarm has: connections to peers, a limited cache (tests/e2e/test_programs_control.py).
    found |= {"reel", "address", "client", "kind", "incoming", "encrypted", "progress", "download_rate", "upload_rate"}
    found |= {"cache", "limit", "used", "encoded"}
    found |= {"version", "packs", "reached"}  # of what was withdrawn, see tests/e2e/test_withdrawal.py
    assert {"uploaded", "failure", "queued", "refs_held_back"} <= found
    found |= {"fetched"}  # of a sync by whoever has the feeds
    found |= {"newest", "bytes", "ref", "from", "to", "stays"}  # of a dry run, see tests/compat/test_json.py
    assert marked(json_page()) == found


def test_every_key_of_an_overview_is_told_and_no_other() -> None:
    kinds = (RepositoryHealth, RefHeldBack, RefusedFile, ReelHealth, FeedHealth, PublishedVersion)
    served = json.loads(status_document(Shown((), Traffic().last_day(0), 0, "1")).body)
    found = {field.name for kind in kinds for field in dataclasses.fields(kind)} | set(keys(served, ()))
    assert marked(subsection(page("gtfs.1"), "Of an overview")) == found


def test_every_setting_that_is_read_is_told() -> None:
    used = set()
    for path in HOUSE.rglob("*.py"):
        text = path.read_text()
        used |= set(re.findall(r'config\.(?:get|get_all|set)\("(\w+)"', text))
        if path.name == "config.py":
            used |= set(re.findall(r'self\.(?:get|get_all)\("(\w+)"', text))
    used |= {key_of(limit) for limit in LIMITS}
    told = items(section(page("gtfs.1"), "CONFIGURATION"))
    assert used == set(re.findall(r"Cm (\w+)", told))


def test_every_extended_attribute_is_told() -> None:
    text = "".join(path.read_text() for path in [*(HOUSE / "view").glob("*.py"), *(HOUSE / "mount").glob("*.py")])
    used = set(re.findall(r'b"user\.gtfs\.(\w+)"', text)) | set(re.findall(r'XATTR_PREFIX \+ b"(\w+)"', text))
    told = items(subsection(page("mount.fuse.gtfs.8"), "Extended attributes"))
    assert used == set(re.findall(r"user\.gtfs\.(\w+)", told))


def test_every_state_is_told() -> None:
    told = items(subsection(page("mount.fuse.gtfs.8"), "States"))
    assert re.findall(r"Cm (\w+)", told) == list(get_args(PackStage))


def test_every_limit_is_told_with_its_default() -> None:
    told = dict(re.findall(r"^\.It (\w+) Ta (\d+(?: [KMG]iB)?) Ta", page("gtfs-pack.5"), re.MULTILINE))
    shifts = {"KiB": 10, "MiB": 20, "GiB": 30}
    read = {}
    for name, text in told.items():
        number, _, unit = text.partition(" ")
        read[name] = int(number) << shifts.get(unit, 0)
    assert read == dataclasses.asdict(Limits())


def test_every_test_that_the_threats_name_exists() -> None:
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE))
    named = set(re.findall(r"\btest_\w+", page("gtfs-design.7")))
    assert named and named <= there, named - there


def test_the_map_of_the_house_names_every_folder() -> None:
    folders = {p.parent.name for p in HOUSE.glob("*/*.py")}
    files = {p.name for p in HOUSE.glob("*.py")} - {"__init__.py"}
    told = set(re.findall(r"^\.It Pa (\w+)/$", page("gtfs-design.7"), re.MULTILINE))
    assert told == folders
    assert set(re.findall(r"^    (\w+)/ ", gtfs.__doc__ or "", re.MULTILINE)) == folders
    assert set(re.findall(r"^\.It Pa (\w+\.py)$", page("gtfs-design.7"), re.MULTILINE)) == files


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_pages_of_ours_that_a_page_refers_to_exist(path: Path) -> None:
    for name, number in re.findall(r"Xr (\S*gtfs\S*) (\d)", path.read_text()):
        assert (ROOT / "man" / f"{name}.{number}").exists()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_mandoc_finds_nothing_to_warn_about(path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed (apt package mandoc)")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False)
    assert not done.stdout + done.stderr
