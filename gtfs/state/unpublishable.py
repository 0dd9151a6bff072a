# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps refs from being published: commits whose packs cannot be made or that mirrors would refuse, and a
catalogue that grows too large. Synchronous, under the node's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gtfs.catalogue.accept import Held
from gtfs.catalogue.document import TEXT_BYTES
from gtfs.catalogue.reftree import LEAST, TOTAL_BYTES
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.pack.limits import LIMITS, key_of
from gtfs.repo.history import MISSING, Ref
from gtfs.repo.reach import find_blamed
from gtfs.repo.repository import Repository
from gtfs.state.selection import Selection, place_of
from gtfs.state.state import State
from gtfs.trust.refnames import encode_name

_REST_BYTES = 1 << 20  # of a catalogue's text for all but its refs: a reel takes 130


class Unpublishable(GtfsError):
    """The repository cannot be published as it is; the text says what to do."""

    fault = Blame.SOURCE


def check_fits(repository: Repository, refs: Sequence[Ref], *, in_chunks: bool = False) -> None:
    """Raise `Unpublishable`, before anything is encoded, for more refs than a catalogue can name, in chunks or not."""
    line = 2 * repository.fmt.oid_bytes + 3  # id, blanks, end of line
    most = TOTAL_BYTES - TOTAL_BYTES // LEAST * 2 if in_chunks else TEXT_BYTES
    if line * len(refs) + 3 * sum(len(name) for name, _, _ in refs) <= most - _REST_BYTES:  # however they are spelled
        return
    total = sum(line + len(encode_name(ref.name)) for ref in refs)
    if total <= most - _REST_BYTES:
        return
    [(place, count)] = Counter(place_of(ref.name) for ref in refs).most_common(1)
    below = place.decode("utf-8", "replace")
    raise Unpublishable(
        f"over the limit catalogue: {len(refs)} refs take {total} bytes where {most} are allowed, and {count} of "
        f"them are below {below}/; leave these out with: gtfs init {repository.path} --hide {below}/"
    )


def hold_back(state: State, refs: Sequence[Ref]) -> dict[bytes, str]:
    """The refs that reach a commit or tag that cannot be published, each with the reason and what to do about it.

    What no ref reaches any more is forgotten.
    """
    reasons = state.index.unencodable.all()
    for oid, needs in state.index.needs.of_reel(None).items():  # encoded when the limits were higher
        beyond = needs.beyond(state.limits)
        if beyond is not None:
            reasons[oid] = "it is over the limit {}: {} is needed where {} is allowed".format(*beyond)
    if not reasons and all(kind != MISSING for _, _, kind in refs):
        return {}
    reach = find_blamed(state.repository, refs, reasons)
    state.index.unencodable.drop(oid for oid in reasons if oid not in reach.seen)
    reasons = {**reach.unreadable, **reasons}
    return {name: _explain(state, oid, reasons[oid]) for name, oid in reach.blamed.items()}


def why_broken(selection: Selection, held: Held | None) -> dict[bytes, str]:
    """The refs that git cannot read, which stay as the held catalogue has them, each with what to do about it."""
    listed = {} if held is None else held.catalogue.refs
    return {
        name: f"{reason}; mirrors keep the ref at {listed[name].hex()}: mend that file, or remove it if the ref may go"
        for name, reason in selection.broken.items()
    }


def _explain(state: State, oid: ObjectId, reason: str) -> str:
    repository = state.repository
    over = next((limit for limit in LIMITS if f"over the limit {limit}:" in reason), None)
    if over is not None:
        hint = f"leave it out of the history, or set gtfs.{key_of(over)} in {state.config.path}, as mirrors must then"
    elif repository.is_partial():
        hint = "this is a partial clone: git fetch --refetch --no-filter, then git repack -ad"
    else:
        hint = "git fsck tells more; get what is missing or damaged from another copy"
    return f"the pack of {oid.hex()} cannot be made: {reason}; {hint}"
