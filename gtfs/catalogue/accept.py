# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether to believe a document that a feed gave: the acceptance rules of design.md §5, all of them, in order.

A collection of repositories (`gtfs.collection.document`) is judged by the same ones. Nothing is fetched, written or
remembered here; `gtfs.catalogue.store` keeps what was accepted, and the caller acts on it only after that. Any thread;
every signature costs one run of gpgv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeAlias, TypeVar

from gtfs.catalogue.document import BadCatalogue, Catalogue, digest, text_alone, with_refs
from gtfs.catalogue.reftree import ChunkSource, RefTree
from gtfs.catalogue.statement import Statement
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.keyring import Keyring
from gtfs.trust.stanza import write_time
from gtfs.trust.verify import BadSignature, ClearSigned, MadeInFuture, Signature, UnknownKey, read_clearsigned

# Lines of policy times the bytes of all refs' names: each line is held to each name when refs move, and the worst
# pattern takes a microsecond for a byte. Not asked of what is held already: that must be read in any case.
POLICY_WORK: Final = 100_000_000

S = TypeVar("S", bound=Statement)
S_co = TypeVar("S_co", bound=Statement, covariant=True)


class CatalogueRefused(GtfsError):
    """A document that is not believed; its subclass is the rule that it breaks."""

    fault = Blame.TRUST

    def __init__(self, reason: str) -> None:
        super().__init__(f"catalogue refused: {reason}")
        self.reason = reason


class NotSigned(CatalogueRefused):
    """No clear-signed document, or one with something beside it."""


class WrongSigner(CatalogueRefused):
    """Too few good signatures by those who may sign this version."""


class WrongRepository(CatalogueRefused):
    """Another repository's catalogue, or one with another hash."""


class OlderVersion(CatalogueRefused):
    """A version below the held one."""


class AlteredChain(CatalogueRefused):
    """The next version, but its ``Previous`` does not name the held one."""

    def __init__(self, reason: str, other: bytes) -> None:
        super().__init__(reason)
        self.other = other


class FromFuture(CatalogueRefused):
    """A ``Date`` that has not come yet."""


class Equivocation(CatalogueRefused):
    """Two good catalogues of one version; both documents are to be kept and neither acted on."""

    def __init__(self, version: int, held: bytes | None, other: bytes) -> None:
        super().__init__(
            f"the publisher signed two different catalogues of version {version};"
            " refs stay where they are until you have asked the publisher"
        )
        self.version = version
        self.held = held
        self.other = other


@dataclass(frozen=True)
class Believed(Generic[S_co]):
    """A believed catalogue (or collection) with the document it came in. ``news``: it is newer than the held one."""

    catalogue: S_co
    document: bytes
    digest: str  # SHA-256 of the text, in hex
    signatures: tuple[Signature, ...] = ()  # empty when it was read from the store
    news: bool = True


Accepted: TypeAlias = Believed[Catalogue]
Held: TypeAlias = Believed[Catalogue]


@dataclass(frozen=True)
class FirstTrust:
    """Whom to believe before any catalogue is held: fingerprints that the user gave, or the user's explicit yes.

    ``allowed`` None means that no fingerprint was given: then ``confirm`` is asked with the catalogue and its good
    signatures, and must return True.
    """

    allowed: frozenset[Fingerprint] | None = None
    confirm: Callable[[Statement, tuple[Signature, ...]], bool] | None = None
    repository: str | None = None  # the id that the user expects, if any
    threshold: int = 1


def accept(
    document: bytes,
    held: Held | None,
    keyring: Keyring,
    first: FirstTrust,
    now_s: int,
    *,
    known_digest: Callable[[int], str | None] | None = None,
    chunks: ChunkSource | None = None,
    drawn: RefTree | None = None,
) -> Accepted:
    """Judge ``document``; raises a `CatalogueRefused`, `BadCatalogue`, `ChunksMissing` or `GpgvFailed`.

    ``chunks`` gives what a text of format 2 names; it is asked once all else is good. ``drawn``: chunks that this
    program has made itself.

    The held version again is accepted with ``news`` False. ``known_digest`` gives the digest of an older accepted
    version, so that another text of it is noticed as an equivocation too.
    """
    known = drawn or (None if held is None else held.catalogue.tree)
    return judge(
        document, held, keyring, first, now_s, text_alone, known_digest, lambda new: _whole(new, chunks, known)
    )


def judge(
    document: bytes,
    held: Believed[S] | None,
    keyring: Keyring,
    first: FirstTrust,
    now_s: int,
    read: Callable[[bytes], S],
    known_digest: Callable[[int], str | None] | None = None,
    complete: Callable[[S], S] = lambda new: new,
) -> Believed[S]:
    """`accept` for any statement: ``read`` gives it from its signed text, ``complete`` what it names, at the end."""
    if held is not None and document == held.document:
        return replace(held, news=False)
    allowed = first.allowed if held is None else frozenset(held.catalogue.signers)
    try:
        signed = read_clearsigned(document, keyring, allowed, now_s=now_s)
        _enough(signed, first.threshold if held is None else held.catalogue.threshold, allowed)
        catalogue = read(signed.text)
        # Those whom it names must stand behind it too, or a slip in Signers would leave nobody to sign the next one.
        named = frozenset(catalogue.signers)
        by_named = signed if named == allowed else read_clearsigned(document, keyring, named, now_s=now_s)
        _enough(by_named, catalogue.threshold, named, "by those whom it names itself in Signers")
    except BadSignature as error:
        raise NotSigned(error.reason) from None
    accepted = Believed(catalogue, document, digest(signed.text), signed.signatures)
    if catalogue.date_s > now_s + FUTURE_S:
        raise FromFuture(f"its date {write_time(catalogue.date_s)} has not come; are the clocks right?")
    if held is not None:
        accepted = _follow(accepted, held, known_digest)
        return replace(accepted, catalogue=complete(catalogue)) if accepted.news else accepted
    if first.repository is not None and catalogue.repository != first.repository:
        raise WrongRepository(f"it is of {catalogue.repository}, not of {first.repository}")
    accepted = replace(accepted, catalogue=complete(catalogue))
    if first.allowed is None and not (first.confirm and first.confirm(accepted.catalogue, signed.signatures)):
        signers = [signature.primary for signature in signed.signatures]
        given = ",".join(f"signer={signer}" for signer in signers)
        raise WrongSigner(f"nobody said that {', '.join(signers)} may sign the first one; if so: -o {given}")
    return accepted


def _whole(catalogue: Catalogue, chunks: ChunkSource | None, known: RefTree | None) -> Catalogue:
    """With its refs, which are held to the limits; raises `BadCatalogue`, `ChunksMissing`."""
    catalogue = with_refs(catalogue, chunks, known)
    names = sum(map(len, catalogue.refs))
    if len(catalogue.policy) * names > POLICY_WORK:
        counts = f"{len(catalogue.policy)} lines for refs whose names have {names} bytes"
        raise BadCatalogue(f"over the limit policy: {counts}; the product may be {POLICY_WORK}", "Policy")
    return catalogue


def _enough(signed: ClearSigned, threshold: int, allowed: frozenset[Fingerprint] | None, whose: str = "") -> None:
    """Raise `WrongSigner` unless ``threshold`` distinct primary keys signed."""
    if len(signed.signatures) < threshold:
        why = "; ".join(map(str, signed.rejected)) or "there is no other signature"
        hint = ""
        if any(isinstance(r.error, MadeInFuture) for r in signed.rejected):
            hint = "; is the clock of this machine right?"
        elif allowed and any(isinstance(r.error, UnknownKey) for r in signed.rejected):
            # A new subkey of the publisher's, most likely, or a new signer's key.
            lacking = sorted(allowed - {signature.primary for signature in signed.signatures})
            hint = f"; it has to be by {', '.join(lacking[:3])}: give the newest copy with -o keyring=FILE"
        of = f"{threshold} needed signatures{' ' + whose if whose else ''}"
        raise WrongSigner(f"{len(signed.signatures)} of {of} are good ({why}){hint}")


def _follow(accepted: Believed[S], held: Believed[S], known_digest: Callable[[int], str | None] | None) -> Believed[S]:
    """The rules between a catalogue and the held one."""
    new, old = accepted.catalogue, held.catalogue
    if (why := new.why_another(old)) is not None:
        raise WrongRepository(why)
    if new.version == old.version:
        if accepted.digest != held.digest:
            raise Equivocation(new.version, held.document, accepted.document)
        return replace(held, signatures=accepted.signatures, news=False)
    if new.version < old.version:
        known = known_digest(new.version) if known_digest else None
        if known is not None and known != accepted.digest:
            raise Equivocation(new.version, None, accepted.document)
        raise OlderVersion(f"it is version {new.version}, older than the held version {old.version}")
    if new.version == old.version + 1 and held.digest not in new.follows:
        why = f"version {new.version} does not follow the held version {old.version} (Previous differs)"
        raise AlteredChain(why, accepted.document)
    return accepted
