# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs sign``: all of it, as no node has to do with it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.cosign import describe
from gtfs.catalogue.document import TEXT_BYTES, BadCatalogue, Catalogue, digest, from_text, text_alone
from gtfs.catalogue.refchunks import ChunksMissing
from gtfs.cli.publish import BEFORE_SUFFIX
from gtfs.cli.terminal import complain, say, say_json
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.feed import CHUNKS
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.trust.packets import key_id
from gtfs.trust.sign import Signer, secret_keys
from gtfs.trust.verify import DOCUMENT_BYTES, BadSignature, split_clearsigned


class NothingSigned(GtfsError):
    """Nothing was signed; the text says why, and what to do."""

    fault = Blame.USAGE


def run(
    file: Path, key: str | None, home: Path | None, is_sure: bool, *, dry_run: bool = False, as_json: bool = False
) -> None:
    """Show, ask, sign. Raises `NothingSigned`, `BadCatalogue`, `SigningFailed`, `GnupgUnusable`, `BadId`, OSError."""
    text = _read(file, TEXT_BYTES)
    if text.startswith(b"-----BEGIN PGP"):
        raise NothingSigned(f"{file} is signed already; each signs the text itself, which gtfs publish --propose wrote")
    chunks = ChunkStore(file.parent / CHUNKS).get
    new = from_text(text, chunks)
    text_before = _before(file, new)
    before = None if text_before is None else text_alone(text_before)
    signer = Signer(_choose(new, before, None if key is None else parse_fingerprint(key), home), home)
    lines = list(describe(text, text_before, chunks))
    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if new.previous is not None and before is None:
        complain(f"there is no {file}{BEFORE_SUFFIX}, so all refs are shown, and not which of them change")
    out = file.with_name(f"{file.name}.{key_id(signer.fingerprint)}.asc")
    if not dry_run:
        if not is_sure:
            _ask(signer.fingerprint)
        replace_file(out, signer.clearsign(text.decode("ascii")), 0o644)
    if as_json:
        say_json({"file": str(out), "key": signer.fingerprint, "version": new.version, "signed": not dry_run})
    else:
        say(f"{signer.fingerprint} would sign {out}" if dry_run else f"signed {out}")


def _read(file: Path, most: int) -> bytes:
    with open(file, "rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise NothingSigned(f"{file} is over the limit document: more than {most} bytes")
    return data


def _before(file: Path, new: Catalogue) -> bytes | None:
    """The text of the catalogue that this one follows, if it is beside it: ``Previous`` says that it is the one."""
    path = file.with_name(file.name + BEFORE_SUFFIX)
    if new.previous is None or not path.exists():
        return None
    try:
        text, _ = split_clearsigned(_read(path, DOCUMENT_BYTES))
        from_text(text, ChunkStore(file.parent / CHUNKS).get)
    except ChunksMissing as error:
        raise NothingSigned(
            f"{path}: {error}: put them into {file.parent / CHUNKS}, or take {path} away to be shown all refs"
        ) from None
    except (BadSignature, BadCatalogue) as error:
        raise NothingSigned(f"{path} is no catalogue: {error.reason}") from None
    if digest(text) != new.previous:
        raise NothingSigned(f"{path} is not the catalogue that {file} follows; put that one there, or take it away")
    return text


def _choose(new: Catalogue, before: Catalogue | None, key: Fingerprint | None, home: Path | None) -> Fingerprint:
    named = dict.fromkeys((*(() if before is None else before.signers), *new.signers))
    if key is not None:
        if key not in named and (before is not None or new.previous is None):
            raise NothingSigned(f"{key} may not sign this: it is none of {', '.join(named)}")
        return key
    here = [signer for signer in named if signer in secret_keys(home)]
    if len(here) != 1:
        found = (
            f"the secret keys of several are here: give --key, one of {', '.join(here)}"
            if here
            else (f"the secret key of none is here: {', '.join(named)}; gpg --list-secret-keys shows those that are")
        )
        raise NothingSigned(f"nothing is signed: of those who may, {found}")
    return here[0]


def _ask(key: Fingerprint) -> None:
    if not sys.stdin.isatty():
        raise NothingSigned(
            "nothing is signed: nobody is at a terminal to say so; look at what is shown and give --yes"
        )
    if click.prompt(f"Shall {key} sign this? Type yes", default="", show_default=False, err=True).strip() != "yes":
        raise NothingSigned("nothing is signed, as you did not say yes")
