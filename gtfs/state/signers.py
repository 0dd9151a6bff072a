# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signs a publisher's catalogues, and that their keys are in the frozen ring as they are now (design.md §5).

Synchronous, under the node's lock.
"""

from __future__ import annotations

import logging

from gtfs.catalogue.cosign import Role, roles
from gtfs.state.state import State
from gtfs.trust.gnupghome import GnupgUnusable
from gtfs.trust.keyring import freeze, read_user_keys

log = logging.getLogger(__name__)


def needed_roles(state: State) -> list[Role]:
    """Who has to sign the next catalogue. Raises `BadConfig`, `BadId`."""
    return roles(None if state.held is None else state.held.catalogue, *state.config.signers())


def renew_keys(state: State) -> None:
    """Let the frozen copies of the signers' keys follow the user's GnuPG: a new subkey, a later expiry, a revocation.

    A key that is not there any more, or a gpg that is not, is no fault before something has to be signed. Whoever is
    new counts by name only.
    """
    wanted = {key for role in needed_roles(state) for key in role.signers}
    try:
        found = read_user_keys(wanted, state.config.gnupg_home())
    except GnupgUnusable as error:
        log.info("the signers' keys are used as they were frozen: %s", error)
        return
    found = {key: found[key] for key in wanted if key in found}
    before = state.keyring
    here = frozenset() if before is None else before.primaries
    if found:
        freeze(found, state.layout.keyring, before=before, stay=here, left=state.layout.left_keys)
        new = found.keys() - here - {state.config.sign_key()}
        state.use_keyring({*before.named_only, *new} if before is not None and new else None)
