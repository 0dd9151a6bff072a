# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository becomes a publisher's: its name, the key that signs, tried once, and what its catalogues are to say.

Everything is looked at before anything is written. Synchronous, under the node's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.ids import Fingerprint, ObjectId, parse_fingerprint, parse_object_id
from gtfs.ingest.quorum import short_of_attesters
from gtfs.pack.limits import LIMITS, key_of, parse_size
from gtfs.repo.repository import Repository
from gtfs.state.acceptedfaults import accept_faults, read_skip_list
from gtfs.state.config import VALID_DAYS, BadConfig
from gtfs.state.freshness import trust_by_name
from gtfs.state.selection import parse_pattern
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable
from gtfs.trust.gnupghome import open_gnupg
from gtfs.trust.keyring import Keyring, SubkeyNamed, choose, freeze, merge_keys, read_user_keys, refuse_subkey
from gtfs.trust.policy import BadPolicy, Policy, parse_policy
from gtfs.trust.sign import Signer

log = logging.getLogger(__name__)

# What sets a field of the catalogue that cannot be as it is wanted.
_OPTIONS: Final = {"Repository": "--name", "Trackers": "--tracker", "Web-Seeds": "--web-seed", "Policy": "--policy"}


@dataclass(frozen=True)
class Wanted:
    """What a publisher's user wants, as it was written (gtfs(1), ``init``); what is empty stays as it was."""

    name: str | None = None
    sign_key: str | None = None
    freshness_keys: tuple[str, ...] = ()
    gnupg_home: Path | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    valid_days: int | None = None
    refs: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()  # NAME=SIZE
    accepted_faults: tuple[str, ...] = ()
    accepted_fault_files: tuple[Path, ...] = ()


def make_publisher(repository: Repository, wanted: Wanted) -> str:
    """Make the repository a publisher's, or change what it is; gives its id.

    Raises `BadConfig`, `BadPolicy`, `BadSize`, `BadId`, `BadKeyring`, `GnupgUnusable`, `SigningFailed`, OSError.
    """
    policies = [parse_policy(line) for line in wanted.policy]
    _check(wanted, policies)
    for pattern in (*wanted.refs, *wanted.hide):
        parse_pattern(pattern)
    if wanted.valid_days is not None and wanted.valid_days > VALID_DAYS:
        raise BadConfig(f"--valid-days {wanted.valid_days}: not a number from 1 to {VALID_DAYS}")
    limits = dict(_parse_limit(text) for text in wanted.limits)
    faulty: list[ObjectId] = [parse_object_id(text) for text in wanted.accepted_faults]
    for file in wanted.accepted_fault_files:
        faulty += read_skip_list(file)
    if wanted.gnupg_home is not None:
        open_gnupg(wanted.gnupg_home)
    freshness = tuple(parse_fingerprint(text) for text in wanted.freshness_keys)
    with State(repository) as state:
        refuse_subkeys(state, policies, wanted.gnupg_home)
        key = wanted.sign_key or state.config.sign_key()
        if key is None:
            raise BadConfig(f"{repository.path} is no publisher's yet: give --sign-key FPR")
        if key in freshness:
            raise BadConfig(f"--freshness-key {key}: it signs the catalogues; give one that is for this alone")
        home = str(wanted.gnupg_home.absolute()) if wanted.gnupg_home else None
        repository_id = initialise(state, wanted.name, key, home)
        trust_by_name(state, freshness)
        if faulty:
            accept_faults(repository, faulty)
        settings: Mapping[str, Sequence[str]] = {
            "freshnesskey": freshness,
            "tracker": wanted.trackers,
            "webseed": wanted.web_seeds,
            "policy": [line.to_line() for line in policies],
            "validdays": [str(wanted.valid_days)] if wanted.valid_days else (),
            "refs": wanted.refs,
            "hide": wanted.hide,
            **{key_of(limit): [size] for limit, size in limits.items()},
        }
        for setting, values in settings.items():
            if values:
                state.config.set(setting, *values)
        say_who_is_missing(policies, state.keyring)
    return repository_id


def _check(wanted: Wanted, policies: Sequence[Policy]) -> None:
    """Whether a catalogue may say all this. Raises `BadConfig`, `BadId`."""
    if wanted.name is not None and not (wanted.name and wanted.name.isprintable()):
        raise BadConfig("--name: not a repository id")
    trial = Catalogue(
        "name" if wanted.name is None else wanted.name, 1, None, 0, 1,
        (parse_fingerprint("A" * 40 if wanted.sign_key is None else wanted.sign_key),),
        trackers=wanted.trackers, web_seeds=wanted.web_seeds, policy=tuple(policies),
    )  # fmt: skip
    try:
        trial.to_text()
    except BadCatalogue as e:
        raise BadConfig(f"{_OPTIONS.get(e.field, e.field)}: {e.reason}") from None


def _parse_limit(text: str) -> tuple[str, str]:
    name, _, size = text.partition("=")
    if name not in LIMITS:
        raise BadConfig(f"--limit {text}: there is no limit of that name, but {', '.join(LIMITS)}")
    return name, str(parse_size(size, f"--limit {name}"))


def initialise(state: State, name: str | None, fingerprint: str, gnupg_home: str | None) -> str:
    """Set a publisher's repository id and signing key, tried once; gives the id.

    Raises `BadConfig`, `BadKeyring`, `SigningFailed`, `BadId`.
    """
    config = state.config
    if state.held is not None and config.sign_key() is None:
        raise BadConfig(f"{state.repository.path} follows the catalogue of {state.held.catalogue.repository}")
    known = config.get("name")
    if known is not None and name is not None and known != name:
        raise BadConfig(f"{state.repository.path} is named {known} already; mirrors know it by that name")
    repository_id = name or known or _first_root(state.repository)
    key = parse_fingerprint(fingerprint)
    home = config.gnupg_home() if gnupg_home is None else Path(gnupg_home)
    # Tried before anything is changed: a publisher keeps the key that works.
    Signer(key, home).detach_sign(b"gtfs init: can this key sign?\n")
    own = choose([key], read_user_keys([key], home), "of GnuPG")
    before, old = state.keyring, config.sign_key()
    freeze(own, state.layout.keyring, before=before, stay=before.primaries - {old} if before is not None else ())
    state.use_keyring(state.keyring.named_only - {key} if state.keyring is not None else ())
    if gnupg_home is not None:
        config.set("gnupghome", gnupg_home)
    config.set("signkey", key)
    config.set("name", repository_id)
    return repository_id


def refuse_subkeys(state: State, policies: Sequence[Policy], gnupg_home: Path | None) -> None:
    """Raise `BadPolicy` for a line that names a subkey, as far as the keyring or the user's GnuPG knows it for one."""
    named = {fingerprint for policy in policies for fingerprint in _named(policy)}
    keys = dict(state.keyring.keys) if state.keyring is not None else {}
    if named - keys.keys():
        merge_keys(keys, read_user_keys(named, gnupg_home or state.config.gnupg_home()))
    for policy in policies:
        for fingerprint in sorted(_named(policy)):
            try:
                refuse_subkey(fingerprint, keys)
            except SubkeyNamed as error:
                raise BadPolicy(policy.to_line(), str(error)) from None


def say_who_is_missing(policies: Sequence[Policy], keyring: Keyring | None) -> None:
    """Lines whose refs no mirror with the keys of this node would ever move."""
    for policy, count in short_of_attesters(policies, keyring):
        log.warning(
            "the ring here has %d of the %d attesters that %s waits for; mirrors need the keys, which no catalogue "
            "brings: gtfs trust REPO add FILE",
            count, policy.quorum, policy.to_line(),
        )  # fmt: skip


def _named(policy: Policy) -> frozenset[Fingerprint]:
    return (policy.signers or frozenset()) | (policy.attesters or frozenset())


def _first_root(repository: Repository) -> str:
    roots = repository.git("rev-list", "--max-parents=0", "HEAD", check=False).split()
    if not roots:
        raise Unpublishable("the repository has no commit to be named after; give a name with --name")
    return roots[-1].decode()
