# SPDX-License-Identifier: GPL-3.0-or-later
"""One of several who publish a repository: a mirror whose key the held catalogue names takes its settings over, and
publishes on top of what others published (design.md §5). Synchronous, under the node's lock.
"""

from __future__ import annotations

from gtfs.ids import Fingerprint
from gtfs.repo.known import KnownObjects
from gtfs.state.acceptedfaults import accept_faults
from gtfs.state.config import BadConfig
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable


def join(state: State, key: Fingerprint) -> None:
    """Let what this node publishes say what the held catalogue says, where its settings do not; raises `BadConfig`.

    Nothing is done for who publishes already, and without a catalogue.
    """
    held, config = state.held, state.config
    if held is None or config.sign_key() is not None:
        return
    said = held.catalogue
    if key not in said.signers:
        raise BadConfig(
            f"{state.repository.path} follows the catalogue of {said.repository}, whose Signers do not name {key}; "
            "who publishes that has to name it first"
        )
    settings = {
        "name": [said.repository],
        "signer": said.signers if said.signers != (key,) else (),
        "threshold": [str(said.threshold)] if said.threshold > 1 else (),
        "freshnesskey": said.freshness,
        "tracker": said.trackers,
        "webseed": said.web_seeds,
        "pushurl": [] if said.push_url is None else [said.push_url],
        "policy": [line.to_line() for line in said.policy],
    }
    for setting, values in settings.items():
        if values and not config.get_all(setting):
            config.set(setting, *values)
    if said.accepted_faults:
        accept_faults(state.repository, said.accepted_faults)
    state.layout.followed.unlink(missing_ok=True)  # pushes are welcome now


def check_caught_up(state: State) -> None:
    """Raise `Unpublishable` if git lacks what another publisher's catalogue has: to publish now would take it back."""
    held = state.held
    refs = state.index.refs
    if held is None or refs.are_of(held.digest) or refs.held() == held.catalogue.refs:
        return
    with KnownObjects(state.repository) as known:
        lacking = [name for name, oid in held.catalogue.refs.items() if oid not in known]
    if lacking:
        name = lacking[0].decode("utf-8", "replace")
        raise Unpublishable(
            f"version {held.catalogue.version}, which another publisher signed, has {len(lacking)} refs at what is not "
            f"here, {name} first; run: gtfs sync {state.repository.path}"
        )
