# SPDX-License-Identifier: GPL-3.0-or-later
"""``-o`` of the node: every value is looked at where it is typed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gtfs.cli.nodeoptions import TABLE, CommandOptions, parse
from gtfs.errors import GtfsError
from gtfs.mount.options import MountOptions, escape_value
from gtfs.node.options import NodeOptions
from gtfs.overview.health import Thresholds
from gtfs.overview.options import OverviewOptions
from gtfs.pack.limits import Limits
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.options import SwarmOptions


def swarm(text: str) -> SwarmOptions:
    return parse([text]).node.swarm


@pytest.mark.parametrize("name", TABLE)
def test_an_option_sets_a_field_of_what_its_reader_is_given(name: str) -> None:
    option = TABLE[name]
    given = {CommandOptions, MountOptions, NodeOptions, SwarmOptions, TrustGiven, Limits}
    given |= {OverviewOptions, Thresholds}
    assert option.of in given and option.sets in {f.name for f in dataclasses.fields(option.of)}


@pytest.mark.parametrize("name", [n for n, o in TABLE.items() if not isinstance(o.kind, bool)])
def test_an_option_that_needs_a_value_is_refused_without_one(name: str) -> None:
    for text in (name, f"{name}="):
        with pytest.raises(GtfsError, match=f"{name} needs a value: {name}=") as caught:
            parse([text])
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", [n for n, o in TABLE.items() if isinstance(o.kind, bool)])
def test_a_flag_obeys_yes_and_no_and_refuses_all_else(name: str) -> None:
    assert parse([name]) == parse([f"{name}=yes"])
    assert parse([f"{name}=no,{name}=yes"]) == parse([name])
    assert parse([f"{name}=no"]) == parse([f"{name},{name}=off"])
    with pytest.raises(GtfsError, match="not yes or no"):
        parse([f"{name}=perhaps"])


def test_a_flag_that_says_no_leaves_the_default() -> None:
    said = parse(["nodht=no,nolsd=0,nopex=false,offline=off,prefetch=no,utp=no,port_mapping=no"])
    assert said == parse([])
    assert said.node.swarm.dht and said.node.swarm.lsd and said.node.swarm.pex and not said.node.offline


@pytest.mark.parametrize(
    "text",
    ["listen=localhost:0", "listen=127.0.0.1", "listen=::1:0", "listen=127.0.0.1:70000", "port=0", "port=9-8",
     "tracker=nonsense", "tracker=ftp://example.org/", "feed=ftp://example.org/x", "feed=http://example.org:99999/x",
     "proxy=http://127.0.0.1:1", "peer=nowhere", "peer=127.0.0.1:\u00b2", "peer=::1:80", "signer=abc", "jobs=0",
     "connections=0", "cache_size=0", "upload_rate=2G", "upload_rate=fast", "poll=0", "poll=999d",
     "gnupghome=/nowhere", "logfile=/nowhere/log", "logfile=/", "encryption=perhaps", "interface=nowhere0"],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_and_named(text: str) -> None:
    with pytest.raises(GtfsError) as caught:
        parse([text])
    assert caught.value.exit_code == 2 and text.partition("=")[0] in str(caught.value)


def test_sizes_and_times_may_be_written_small_and_in_days() -> None:
    assert swarm("upload_rate=500k").upload_rate == swarm("upload_rate=500KiB").upload_rate == 512_000
    assert parse(["poll=1d"]).node.poll_s == 86400


def test_the_last_of_several_counts_and_lists_add_up() -> None:
    said = swarm(r"listen=127.0.0.1:1,listen=127.0.0.1:2\,[::1]:2,peer=127.0.0.1:5,peer=[::1]:6")
    assert said.listen == "127.0.0.1:2,[::1]:2"
    assert said.peers == (("127.0.0.1", 5), ("::1", 6))


def test_paths_are_absolute_for_a_process_that_leaves_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = parse(["repo=a,keyring=.,feed=b.asc,feed=https://example.org/c.asc"])
    assert (said.command.repo, said.trust.keyrings) == (tmp_path / "a", (tmp_path,))
    assert tuple(feed.text for feed in said.node.feeds) == (str(tmp_path / "b.asc"), "https://example.org/c.asc")


def test_a_value_with_commas_and_backslashes_survives() -> None:
    assert parse(["repo=" + escape_value("/a,b\\c")]).command.repo == Path("/a,b\\c")
