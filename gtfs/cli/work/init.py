# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import say
from gtfs.ids import parse_fingerprint, parse_object_id
from gtfs.pack.limits import LIMITS, key_of, parse_size
from gtfs.repo.repository import open_repository
from gtfs.state.acceptedfaults import accept_faults as accept_more
from gtfs.state.acceptedfaults import read_skip_list
from gtfs.state.config import VALID_DAYS, BadConfig
from gtfs.state.publish import initialise, refuse_subkeys
from gtfs.state.selection import parse_pattern
from gtfs.state.state import State
from gtfs.trust.gnupghome import open_gnupg
from gtfs.trust.policy import Policy, parse_policy

_OPTIONS = {"Repository": "--name", "Trackers": "--tracker", "Web-Seeds": "--web-seed", "Policy": "--policy"}


def run(
    repo: Path,
    name: str | None,
    sign_key: str | None,
    gnupg_home: Path | None,
    tracker: tuple[str, ...],
    web_seed: tuple[str, ...],
    policy: tuple[str, ...],
    valid_days: int | None,
    refs: tuple[str, ...],
    hide: tuple[str, ...],
    limits: tuple[str, ...],
    accept_fault: tuple[str, ...],
    accept_faults: tuple[Path, ...],
) -> None:
    """Look at every word before anything is written."""
    policies = [parse_policy(line) for line in policy]
    _check(name, sign_key, tracker, web_seed, policies)
    for pattern in (*refs, *hide):
        parse_pattern(pattern)
    if valid_days is not None and valid_days > VALID_DAYS:
        raise BadConfig(f"--valid-days {valid_days}: not a number from 1 to {VALID_DAYS}")
    wanted_limits = dict(_parse_limit(text) for text in limits)
    faulty = [parse_object_id(oid) for oid in accept_fault]
    for file in accept_faults:
        faulty += read_skip_list(file)
    if gnupg_home is not None:
        open_gnupg(gnupg_home)
    with State(open_repository(repository_of_mount(repo) or repo)) as state:
        refuse_subkeys(state, policies, gnupg_home)
        home = str(gnupg_home.absolute()) if gnupg_home else None
        key = sign_key or state.config.sign_key()
        if key is None:
            raise click.UsageError(f"{repo} is no publisher's yet: give --sign-key FPR")
        repository_id = initialise(state, name, key, home)
        if faulty:
            accept_more(state.repository, faulty)
        if tracker:
            state.config.set("tracker", *tracker)
        if web_seed:
            state.config.set("webseed", *web_seed)
        if policies:
            state.config.set("policy", *(line.to_line() for line in policies))
        if valid_days:
            state.config.set("validdays", str(valid_days))
        if refs:
            state.config.set("refs", *refs)
        if hide:
            state.config.set("hide", *hide)
        for limit, size in wanted_limits.items():
            state.config.set(key_of(limit), size)
    say(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")


def _check(
    name: str | None, key: str | None, trackers: tuple[str, ...], web_seeds: tuple[str, ...], policy: list[Policy]
) -> None:
    """Before anything is written: whether a catalogue may say all this. Raises `BadConfig`, `BadId`."""
    if name is not None and not (name and name.isprintable()):
        raise BadConfig("--name: not a repository id")
    trial = Catalogue(
        "name" if name is None else name, 1, None, 0, 1, (parse_fingerprint("A" * 40 if key is None else key),),
        trackers=trackers, web_seeds=web_seeds, policy=tuple(policy),
    )  # fmt: skip
    try:
        trial.to_text()
    except BadCatalogue as e:
        raise BadConfig(f"{_OPTIONS.get(e.field, e.field)}: {e.reason}") from None


def _parse_limit(text: str) -> tuple[str, str]:
    name, _, size = text.partition("=")
    if name not in LIMITS:
        raise click.UsageError(f"--limit {text}: there is no limit of that name, but {', '.join(LIMITS)}")
    return name, str(parse_size(size, f"--limit {name}"))
