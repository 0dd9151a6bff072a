# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository becomes a publisher's: its name, the key that signs, tried once, and what its catalogues are to say.

Everything is looked at before anything is written. Synchronous; what writes does so under the node's lock, by the
running node if there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.catalogue.statement import SIGNERS
from gtfs.counted import counted
from gtfs.ids import Fingerprint, ObjectId, parse_fingerprint, parse_object_id
from gtfs.ingest.quorum import short_of_attesters
from gtfs.pack.limits import LIMITS, key_of, parse_size
from gtfs.repo.repository import Repository
from gtfs.state.acceptedfaults import accept_faults, read_skip_list
from gtfs.state.announcesettings import check_announcing, set_announcing
from gtfs.state.attest import make_attester
from gtfs.state.config import PUBLISH_MODES, VALID_DAYS, BadConfig, Config, parse_gathering
from gtfs.state.feeddir import refuse_other
from gtfs.state.freshness import trust_by_name
from gtfs.state.joining import join
from gtfs.state.selection import parse_pattern
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable
from gtfs.trust.gnupghome import open_gnupg
from gtfs.trust.keyring import Keyring, SubkeyNamed, choose, freeze, merge_keys, read_user_keys, refuse_subkey
from gtfs.trust.policy import BadPolicy, Policy, parse_policy
from gtfs.trust.sign import Signer

log = logging.getLogger(__name__)

# What sets a field of the catalogue that cannot be as it is wanted.
_OPTIONS: Final = {
    "Repository": "--name",
    "Trackers": "--tracker",
    "Web-Seeds": "--web-seed",
    "Push-URL": "--push-url",
    "Policy": "--policy",
}


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
    signers: tuple[str, ...] = ()
    threshold: int | None = None
    publish: str | None = None  # one of `PUBLISH_MODES`
    publish_quiet: str | None = None  # seconds, as `publish_most`
    publish_most: str | None = None
    announce: str | None = None  # an absolute path; "": nowhere
    announce_mail: str | None = None
    sendmail: str | None = None  # an absolute path
    feed_dir: str | None = None  # an absolute path; "": nowhere
    push_url: str | None = None  # "": none

    def to_json(self) -> dict[str, Any]:
        """For a running node."""
        paths = {"gnupg_home": None if self.gnupg_home is None else str(self.gnupg_home.absolute())}
        paths["accepted_fault_files"] = [str(file.absolute()) for file in self.accepted_fault_files]  # type: ignore[assignment]
        return {**asdict(self), **paths}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Wanted:
        """What `to_json` wrote; raises `BadConfig` for anything else."""
        given: dict[str, Any] = {}
        for item in fields(cls):
            value = found.get(item.name)
            is_list = item.default == ()
            words = (value or []) if is_list else [] if value is None else [value]
            wanted_type = int if item.name in ("valid_days", "threshold") else str
            if not isinstance(words, list | tuple) or any(type(w) is not wanted_type or "\0" in str(w) for w in words):
                raise BadConfig(f"{item.name}: this is no setting that a node can be given")
            made = [Path(word) if item.name in ("gnupg_home", "accepted_fault_files") else word for word in words]
            given[item.name] = tuple(made) if is_list else made[0] if made else None
        return cls(**given)


def make_publisher(repository: Repository, wanted: Wanted) -> str:
    """Make the repository a publisher's, or change what it is, where no node runs; gives its id.

    Raises what `check_wanted` and `apply_wanted` do, and `Busy`.
    """
    check_wanted(repository, wanted)
    with State(repository) as state:
        return apply_wanted(state, wanted)


def check_words(wanted: Wanted) -> None:
    """Look at what is wanted wherever it will be; raises `BadConfig`, `BadPolicy`, `BadSize`, `BadId`, OSError."""
    _read_wanted(wanted)


def check_wanted(repository: Repository, wanted: Wanted) -> None:
    """Look at all that is wanted, and try the key by the GnuPG of whoever calls: a publisher keeps the key that works.

    Raises `BadConfig`, `BadPolicy`, `BadSize`, `BadId`, `GnupgUnusable`, `SigningFailed`, OSError.
    """
    _read_wanted(wanted)
    check_announcing(repository, wanted.announce, wanted.announce_mail, wanted.sendmail)
    if wanted.gnupg_home is not None:
        open_gnupg(wanted.gnupg_home)
    config = Config(repository)
    key, signers, _ = _signers(config, wanted)
    home = wanted.gnupg_home or config.gnupg_home()
    # Of several signers no key needs to be here: each signs where his key is.
    has_several = wanted.signers or config.get_all("signer")
    if wanted.sign_key is not None or (wanted.gnupg_home is not None and not has_several):
        Signer(key, home).detach_sign(b"gtfs init: can this key sign?\n")
        choose([key], read_user_keys([key], home), "of GnuPG")
    if wanted.signers:
        choose(signers, read_user_keys(signers, home), "of GnuPG")


def answer_init(state: State, request: Mapping[str, Any]) -> dict[str, Any]:
    """What ``gtfs init`` asks of a running node; raises what `apply_wanted` and `make_attester` do."""
    wanted = Wanted.from_json(request["wanted"])
    if request.get("attest"):
        return {"key": make_attester(state, wanted.sign_key, wanted.gnupg_home, wanted.valid_days)}
    return {"repository": apply_wanted(state, wanted)}


def _read_wanted(wanted: Wanted) -> tuple[list[Policy], dict[str, str], list[ObjectId]]:
    """Its lines of policy, limits and accepted faults, all of it being sound."""
    policies = [parse_policy(line) for line in wanted.policy]
    _check(wanted, policies)
    for pattern in (*wanted.refs, *wanted.hide):
        parse_pattern(pattern)
    for text in wanted.freshness_keys:
        parse_fingerprint(text)
    if wanted.valid_days is not None and wanted.valid_days > VALID_DAYS:
        raise BadConfig(f"--valid-days {wanted.valid_days}: not a number from 1 to {VALID_DAYS}")
    if wanted.publish is not None and wanted.publish not in PUBLISH_MODES:
        raise BadConfig(f"--publish {wanted.publish}: not one of {', '.join(PUBLISH_MODES)}")
    for option, seconds in (("--publish-quiet", wanted.publish_quiet), ("--publish-most", wanted.publish_most)):
        parse_gathering(option, seconds, 0)
    faulty: list[ObjectId] = [parse_object_id(text) for text in wanted.accepted_faults]
    for file in wanted.accepted_fault_files:
        faulty += read_skip_list(file)
    return policies, dict(_parse_limit(text) for text in wanted.limits), faulty


def apply_wanted(state: State, wanted: Wanted) -> str:
    """Write what `check_wanted` found good; gives the repository's id.

    Raises `BadConfig`, `BadPolicy`, `BadSize`, `BadId`, `BadKeyring`, `GnupgUnusable`, OSError.
    """
    with state.config.together():
        return _apply(state, wanted)


def _apply(state: State, wanted: Wanted) -> str:
    policies, limits, faulty = _read_wanted(wanted)
    refuse_subkeys(state, policies, wanted.gnupg_home)
    key, signers, threshold = _signers(state.config, wanted)
    freshness = tuple(parse_fingerprint(text) for text in wanted.freshness_keys)
    home = str(wanted.gnupg_home.absolute()) if wanted.gnupg_home else None
    repository_id = initialise(state, wanted.name, key, home)
    trust_by_name(state, [*(signer for signer in signers if signer != key), *freshness])
    if faulty:
        accept_faults(state.repository, faulty)
    for setting, values in _settings(wanted, policies, limits, signers, threshold).items():
        state.config.set(setting, *values)
    for setting, value in _single(wanted).items():
        state.config.set(setting, *filter(None, [value]))
    set_announcing(state.repository, state.config, wanted.announce, wanted.announce_mail, wanted.sendmail)
    say_who_is_missing(policies, state.keyring)
    return repository_id


def foretell_wanted(state: State, wanted: Wanted) -> dict[str, Any]:
    """The id that the repository would have, and each setting that would change, before and after.

    Raises what `apply_wanted` does.
    """
    policies, limits, faulty = _read_wanted(wanted)
    refuse_subkeys(state, policies, wanted.gnupg_home)
    key, signers, threshold = _signers(state.config, wanted)
    repository_id = _id_of(state, wanted.name)
    settings = dict(_settings(wanted, policies, limits, signers, threshold))
    settings |= {"signkey": [key], "name": [repository_id]}
    if wanted.gnupg_home is not None:
        settings["gnupghome"] = [str(wanted.gnupg_home.absolute())]
    said = {"announce": wanted.announce, "announcemail": wanted.announce_mail, "sendmail": wanted.sendmail}
    settings |= {name: [*filter(None, [value])] for name, value in _single(wanted).items()}
    is_over = wanted.announce == ""
    settings |= {name: [value] if value else [] for name, value in said.items() if is_over or value is not None}
    return {
        "repository": repository_id,
        "settings": {
            name: {"from": state.config.get_all(name), "to": list(values)}
            for name, values in sorted(settings.items())
            if state.config.get_all(name) != list(values)
        },
        "accepted_faults": [oid.hex() for oid in faulty],
    }


def _settings(
    wanted: Wanted,
    policies: Sequence[Policy],
    limits: Mapping[str, str],
    signers: Sequence[Fingerprint],
    threshold: int,
) -> dict[str, Sequence[str]]:
    """What is given of the settings that replace those before."""
    settings: Mapping[str, Sequence[str]] = {
        "freshnesskey": [parse_fingerprint(text) for text in wanted.freshness_keys],
        "signer": signers if wanted.signers else (),
        "threshold": [str(threshold)] if wanted.threshold is not None else (),
        "tracker": wanted.trackers,
        "webseed": wanted.web_seeds,
        "policy": [line.to_line() for line in policies],
        "validdays": [str(wanted.valid_days)] if wanted.valid_days else (),
        "refs": wanted.refs,
        "hide": wanted.hide,
        "publish": [wanted.publish] if wanted.publish else (),
        "publishquiet": [wanted.publish_quiet] if wanted.publish_quiet else (),
        "publishmost": [wanted.publish_most] if wanted.publish_most else (),
        **{key_of(limit): [size] for limit, size in limits.items()},
    }
    return {setting: values for setting, values in settings.items() if values}


def _single(wanted: Wanted) -> dict[str, str]:
    """The settings that the empty word takes away."""
    given = {"feeddir": wanted.feed_dir, "pushurl": wanted.push_url}
    return {setting: value for setting, value in given.items() if value is not None}


def _signers(config: Config, wanted: Wanted) -> tuple[Fingerprint, tuple[Fingerprint, ...], int]:
    """The publisher's own key, whom its catalogues are to name, and how many of them must sign.

    Raises `BadConfig`, `BadId`.
    """
    given = tuple(dict.fromkeys(map(parse_fingerprint, wanted.signers)))
    signers = given or tuple(map(parse_fingerprint, config.get_all("signer")))
    key = config.sign_key() if wanted.sign_key is None else parse_fingerprint(wanted.sign_key)
    if wanted.sign_key is None and given and key not in given:
        key = given[0]
    if key is None:
        raise BadConfig(f"{config.path.parents[1]} is no publisher's yet: give --sign-key FPR")
    if signers and key not in signers:
        raise BadConfig(f"--sign-key {key}: it is not among those who sign; name them all with --signer")
    signers = signers or (key,)
    threshold = config.threshold() if wanted.threshold is None else wanted.threshold
    if not 1 <= threshold <= len(signers) or len(signers) > SIGNERS:
        raise BadConfig(f"--threshold {threshold}: not a number from 1 to {len(signers)}, of at most {SIGNERS} signers")
    freshness = map(parse_fingerprint, wanted.freshness_keys) if wanted.freshness_keys else config.freshness_keys()
    if both := {*signers} & {*freshness}:
        raise BadConfig(f"--freshness-key {min(both)}: it signs the catalogues; give one that is for this alone")
    return key, signers, threshold


def _check(wanted: Wanted, policies: Sequence[Policy]) -> None:
    """Whether a catalogue may say all this, and lie there. Raises `BadConfig`, `BadId`, `BadFeedDirectory`."""
    if wanted.name is not None and not (wanted.name and wanted.name.isprintable()):
        raise BadConfig("--name: not a repository id")
    if wanted.feed_dir:
        refuse_other(Path(wanted.feed_dir))
    trial = Catalogue(
        "name" if wanted.name is None else wanted.name, 1, None, 0, 1,
        (parse_fingerprint("A" * 40 if wanted.sign_key is None else wanted.sign_key),),
        trackers=wanted.trackers, web_seeds=wanted.web_seeds, push_url=wanted.push_url or None,
        policy=tuple(policies),
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
    """Set a publisher's repository id and signing key; gives the id. Raises `BadConfig`, `BadKeyring`, `BadId`."""
    config = state.config
    join(state, parse_fingerprint(fingerprint))
    repository_id = _id_of(state, name)
    key = parse_fingerprint(fingerprint)
    home = config.gnupg_home() if gnupg_home is None else Path(gnupg_home)
    own = choose([key], read_user_keys([key], home), "of GnuPG")
    before, old = state.keyring, config.sign_key()
    # Who signed so far may have to sign once more, and counts for nothing else.
    leaving = {old} - {key} if old is not None and state.held and old in state.held.catalogue.signers else set()
    stay = before.primaries - {old} | leaving if before else ()
    freeze(own, state.layout.keyring, before=before, stay=stay, left=state.layout.left_keys)
    state.use_keyring((state.keyring.named_only - {key}) | leaving if state.keyring is not None else ())
    if gnupg_home is not None:
        config.set("gnupghome", gnupg_home)
    config.set("signkey", key)
    config.set("name", repository_id)
    return repository_id


def _id_of(state: State, name: str | None) -> str:
    """The repository's id, which never changes; raises `BadConfig`."""
    known = state.config.get("name")
    if known is not None and name is not None and known != name:
        raise BadConfig(f"{state.repository.path} is named {known} already; mirrors know it by that name")
    return name or known or _first_root(state.repository)


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
            "the ring here has %d of the %s that %s waits for; mirrors need the keys, which no catalogue "
            "brings: gtfs trust REPO add FILE",
            count, counted(policy.quorum, "attester"), policy.to_line(),
        )  # fmt: skip


def _named(policy: Policy) -> frozenset[Fingerprint]:
    return (policy.signers or frozenset()) | (policy.attesters or frozenset())


def _first_root(repository: Repository) -> str:
    roots = repository.git("rev-list", "--max-parents=0", "HEAD", check=False).split()
    if not roots:
        raise Unpublishable("the repository has no commit to be named after; give a name with --name")
    return roots[-1].decode()
