# SPDX-License-Identifier: GPL-3.0-or-later
"""What gtfs.conf says to commands beside the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.cli.nodeoptions import parse
from gtfs.cli.work.configured import swarm_defaults
from gtfs.daemon.conf import BadSettings


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    return tmp_path / "gtfs.conf"


def test_of_the_defaults_a_command_takes_how_the_swarm_is_met_but_for_the_port(conf: Path) -> None:
    conf.write_text(
        "[defaults]\n\toptions = nodht,peer=192.0.2.1:7,upload_rate=1M\n"
        '\toptions = "listen=192.0.2.2:6881\\\\,[2001:db8::1]:6881"\n'
        "\toptions = port=6881,cache_size=1G,poll=5m,hooks=/etc,x-systemd.automount\n"
    )
    said = parse([*swarm_defaults(), "peer=192.0.2.9:9"]).node
    assert said.swarm.listen == "192.0.2.2:0,[2001:db8::1]:0" and said.swarm.ports is None
    assert said.swarm.peers == (("192.0.2.1", 7), ("192.0.2.9", 9))
    assert not said.swarm.dht and said.swarm.upload_rate == 1 << 20
    assert said.cache_bytes is None and said.poll_s == parse([]).node.poll_s and said.hooks == ()


def test_without_a_file_there_are_no_defaults_and_a_wrong_one_is_named(conf: Path) -> None:
    assert swarm_defaults() == []
    conf.write_text("[defaults]\n\toptions = prot=1\n")
    with pytest.raises(BadSettings, match=r"gtfs\.conf:2: options = prot=1"):
        swarm_defaults()
