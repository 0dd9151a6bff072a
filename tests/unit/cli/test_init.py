# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``gtfs init`` stand in one place."""

from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner

from gtfs.cli.commands import cli
from gtfs.cli.init import init
from gtfs.state.initialise import Wanted

OF_ATTESTERS = {"--json", "--attest", "--sign-key", "--gnupg-home", "--valid-days"}
DONE_HERE = {
    "dry_run",
    "as_json",
    "repo",
    "attest",
    "collection",
    "url",
    "seed",
    "hook",
    "no_hook",
    "signing_subkey",
    "no_announce",
}  # by the command itself
VALUES = {
    "--publish": ["auto"],
    "--dry-run": [],
    "--collection": [],
    "--seed": [],
    "--hook": [],
    "--no-hook": [],
    "--no-announce": [],
    "--signing-subkey": [],
    "--threshold": ["1"],
}


def test_each_option_has_the_name_of_a_field_of_what_is_wanted() -> None:
    assert {p.name for p in init.params} - DONE_HERE == {f.name for f in dataclasses.fields(Wanted)}


@pytest.mark.parametrize("option", sorted({p.opts[0] for p in init.params if p.name != "repo"} - OF_ATTESTERS))
def test_what_only_publishers_have_is_refused_beside_attest(option: str) -> None:
    done = CliRunner().invoke(cli, ["init", "r.git", "--attest", option, *VALUES.get(option, [__file__])])
    assert done.exit_code == 2 and "beside --attest" in done.output
