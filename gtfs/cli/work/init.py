# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import say
from gtfs.repo.repository import open_repository
from gtfs.state.attest import make_attester
from gtfs.state.initialise import Wanted, make_publisher


def run(
    repo: Path,
    name: str | None,
    sign_key: str | None,
    gnupg_home: Path | None,
    tracker: tuple[str, ...],
    web_seed: tuple[str, ...],
    freshness_key: tuple[str, ...],
    policy: tuple[str, ...],
    valid_days: int | None,
    refs: tuple[str, ...],
    hide: tuple[str, ...],
    limits: tuple[str, ...],
    accept_fault: tuple[str, ...],
    accept_faults: tuple[Path, ...],
) -> None:
    """Hand what was given to `make_publisher`."""
    wanted = Wanted(
        name=name,
        sign_key=sign_key,
        gnupg_home=gnupg_home,
        trackers=tracker,
        web_seeds=web_seed,
        freshness_keys=freshness_key,
        policy=policy,
        valid_days=valid_days,
        refs=refs,
        hide=hide,
        limits=limits,
        accepted_faults=accept_fault,
        accepted_fault_files=accept_faults,
    )
    repository_id = make_publisher(open_repository(repository_of_mount(repo) or repo), wanted)
    say(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")


def run_attester(repo: Path, sign_key: str | None, gnupg_home: Path | None, valid_days: int | None) -> None:
    """Hand what was given to `make_attester`."""
    key = make_attester(open_repository(repository_of_mount(repo) or repo), sign_key, gnupg_home, valid_days)
    say(f"{repo} attests by {key}; next: gtfs publish {repo}")
