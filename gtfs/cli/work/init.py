# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a repository a publisher's, or change what it is; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.cli.ask import ask, by_node_or_here, foretell, place_at
from gtfs.cli.terminal import say, say_json
from gtfs.cli.work.feed import keep_feed
from gtfs.cli.work.seeded import have_seeded
from gtfs.counted import counted
from gtfs.repo.publishhook import install_hook, remove_hook
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.attest import try_attester_key
from gtfs.state.config import BadConfig, Config
from gtfs.state.initialise import Wanted, answer_init, check_wanted
from gtfs.state.otherstates import set_aside
from gtfs.state.private import check_private
from gtfs.state.signinghome import make_signing_subkey
from gtfs.state.state import State


def run(
    repo: Path,
    given: dict[str, Any],
    *,
    has_hook: bool | None,
    signing_subkey: bool,
    is_seeded: bool = False,
    as_json: bool = False,
) -> None:
    """Look at what is wanted here, where the user's GnuPG is, and have it written."""
    repository = open_repository(place_at(repo))
    check_private(repository.layout.root)  # somebody else's settings are not looked at
    wanted = Wanted(**given)
    _check_hook(repository, wanted, has_hook=has_hook)
    if signing_subkey:
        wanted = make_signing_subkey(repository, wanted)
    check_wanted(repository, wanted)
    set_aside(repository, [key for key in (wanted.sign_key, *wanted.signers) if key is not None])
    done = _write(repository, {"do": "init", "wanted": wanted.to_json()})
    if has_hook is not None:
        (install_hook if has_hook else remove_hook)(repository)
    seeded, lasts = have_seeded(repository.path) if is_seeded else (None, None)
    public = repository.layout.signing_key
    if as_json:
        say_json({**done, "signing_key": str(public) if signing_subkey else None, "seeded": seeded})
        return
    several = Config(repository).signers()[1] > 1
    elsewhere = f", or gtfs publish --propose {repo} where not enough of the keys are here" if several else ""
    if seeded is not None:
        by_itself = Config(repository).publish_mode() != "manual"
        then = "and publishes by itself" if by_itself else f"next: gtfs publish {repo}{elsewhere}"
        say(f"{repo} publishes as {done['repository']}; the daemon seeds it as {seeded}, {then}")
        if lasts is not None:
            say(lasts)
    else:
        say(f"{repo} publishes as {done['repository']}; next: gtfs publish {repo}{elsewhere}")
    if signing_subkey:
        say(f"mirrors that have the key already need its new part, {public}: gtfs trust MIRROR add {public}")


def _check_hook(repository: Repository, wanted: Wanted, *, has_hook: bool | None) -> None:
    if has_hook and (wanted.publish or Config(repository).publish_mode()) == "manual":
        raise BadConfig("--hook: nothing is published by itself here; give --publish=auto or --publish=tags, too")


def run_dry(repo: Path, given: dict[str, Any], *, has_hook: bool, as_json: bool) -> None:
    """Look at what is wanted, the key too, and say which settings would change."""
    repository = open_repository(place_at(repo))
    check_private(repository.layout.root)
    wanted = Wanted(**given)
    _check_hook(repository, wanted, has_hook=has_hook)
    check_wanted(repository, wanted)
    found = foretell(repository.path, {"do": "init", "wanted": wanted.to_json()})
    if as_json:
        say_json(found)
        return
    say(f"{repo} would publish as {found['repository']}; changed would be {counted(len(found['settings']), 'setting')}")
    for name, change in found["settings"].items():
        say(f"{name}: {', '.join(change['from']) or 'unset'} -> {', '.join(change['to']) or 'unset'}", indent=4)
    for oid in found["accepted_faults"]:
        say(f"would be accepted with its faults: {oid}")


def run_attester(
    repo: Path, sign_key: str | None, gnupg_home: Path | None, valid_days: int | None, *, as_json: bool = False
) -> None:
    """The same for a mirror that is to attest."""
    repository = open_repository(place_at(repo))
    check_private(repository.layout.root)  # somebody else's settings are not looked at
    try_attester_key(repository, sign_key, gnupg_home)
    wanted = Wanted(sign_key=sign_key, gnupg_home=gnupg_home, valid_days=valid_days)
    done = _write(repository, {"do": "init", "attest": True, "wanted": wanted.to_json()})
    if as_json:
        say_json(done)
        return
    say(f"{repo} attests by {done['key']}; next: gtfs publish {repo}")


def _write(repository: Repository, request: dict[str, Any]) -> dict[str, Any]:
    def here() -> dict[str, Any]:
        with State(repository) as state:
            done = answer_init(state, request)
            keep_feed(state, "set up")
            return done

    return by_node_or_here(lambda: ask(repository.path, request), here)
