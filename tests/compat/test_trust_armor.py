# SPDX-License-Identifier: GPL-3.0-or-later
"""Key files as they are found: what gpg imports is read, and what is not read is named. A table, with gpg beside."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import Keys, shared_keys

from gtfs.trust.armor import read_key_blocks
from gtfs.trust.keyring import BadKeyring, read_keyrings
from gtfs.trust.packets import KEY_BLOCK, enarmor

BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
END = b"-----END PGP PUBLIC KEY BLOCK-----"


class Parts:
    """An armored key, to be put together in other ways."""

    def __init__(self, armored: bytes) -> None:
        found = re.fullmatch(rb"(-----BEGIN.*)\n\n(.*)\n(=....)\n(-----END.*)\n", armored, re.DOTALL)
        assert found is not None
        self.whole = armored
        self.data = found[2]
        self.checksum = found[3]

    def made(
        self,
        *,
        begin: bytes = BEGIN,
        headers: bytes = b"",
        blank: bytes = b"\n",
        data: bytes | None = None,
        tail: bytes | None = None,
        end: bytes = END + b"\n",
    ) -> bytes:
        data = self.data if data is None else data
        tail = self.checksum + b"\n" if tail is None else tail
        return begin + b"\n" + headers + blank + data + b"\n" + tail + end


# By gpg's own word, how many of the two keys it imports; and how many of them we read.
FORMS = {
    "as gpg writes it": (1, 1, lambda a, b: a.whole),
    "a blank behind BEGIN": (1, 1, lambda a, b: a.made(begin=BEGIN + b" ")),
    "a tab behind BEGIN": (1, 1, lambda a, b: a.made(begin=BEGIN + b"\t")),
    "a blank behind END": (1, 1, lambda a, b: a.made(end=END + b" \n")),
    "a blank before END": (1, 1, lambda a, b: a.made(end=b" " + END + b"\n")),
    "no newline at the end": (1, 1, lambda a, b: a.made(end=END)),
    "CRLF": (1, 1, lambda a, b: a.whole.replace(b"\n", b"\r\n")),
    "text around": (1, 1, lambda a, b: b"pub ed25519: A\n\n" + a.whole + b"bye\n"),
    "in a page": (1, 1, lambda a, b: b"<html><pre>\n" + a.whole + b"</pre></html>\n"),
    "white space in the empty line": (1, 1, lambda a, b: a.made(blank=b"  \t\n")),
    "two empty lines": (1, 1, lambda a, b: a.made(blank=b"\n\n")),
    "no empty line": (1, 1, lambda a, b: a.made(blank=b"")),
    "headers and no empty line": (1, 1, lambda a, b: a.made(headers=b"Version: x\n", blank=b"")),
    "a form feed for an empty line": (1, 1, lambda a, b: a.made(blank=b"\f\n")),
    "no checksum": (1, 1, lambda a, b: a.made(tail=b"")),
    "the checksum and END on one line": (1, 1, lambda a, b: a.made(tail=a.checksum)),
    "a blank behind the checksum": (1, 1, lambda a, b: a.made(tail=a.checksum + b" \n")),
    "the checksum twice": (1, 1, lambda a, b: a.made(tail=(a.checksum + b"\n") * 2)),
    "text behind the checksum": (1, 1, lambda a, b: a.made(tail=a.checksum + b"\nfoo\n")),
    "an empty line before END": (1, 1, lambda a, b: a.made(tail=a.checksum + b"\n\n")),
    "an empty line before the checksum": (1, 1, lambda a, b: a.made(tail=b"\n" + a.checksum + b"\n")),
    "an empty line amid the data": (1, 1, lambda a, b: a.made(data=a.data.replace(b"\n", b"\n\n", 1))),
    "blanks behind the data": (1, 1, lambda a, b: a.made(data=a.data.replace(b"\n", b" \t\n"))),
    "indented data": (1, 1, lambda a, b: a.made(data=b"  " + a.data.replace(b"\n", b"\n  "))),
    "one long line": (1, 1, lambda a, b: a.made(data=a.data.replace(b"\n", b""))),
    "short lines": (1, 1, lambda a, b: a.made(data=re.sub(rb"(.{5})", rb"\1\n", a.data.replace(b"\n", b"")))),
    "no padding": (1, 1, lambda a, b: a.made(data=a.data.rstrip(b"="))),
    "Version and Comment": (1, 1, lambda a, b: a.made(headers=b"Version: GnuPG v1\nComment: a - b: c\n")),
    "a header without value": (1, 1, lambda a, b: a.made(headers=b"Version:\n")),
    "an unknown header": (1, 1, lambda a, b: a.made(headers=b"X-Foo: bar\n")),
    "a header with a blank in its name": (1, 1, lambda a, b: a.made(headers=b"My Comment: x\n")),
    "an indented header": (1, 1, lambda a, b: a.made(headers=b" Comment: x\n")),
    "a header that is not ASCII": (1, 1, lambda a, b: a.made(headers="Comment: Jörg\n".encode())),
    "a long header": (1, 1, lambda a, b: a.made(headers=b"Comment: " + b"x" * 30000 + b"\n")),
    "two blocks": (2, 2, lambda a, b: a.whole + b.whole),
    "two blocks, the first sloppy": (2, 2, lambda a, b: a.made(begin=BEGIN + b" ") + b.whole),
    "a signature before it": (1, 1, lambda a, b: enarmor(b"x", b"SIGNATURE") + a.whole),
    "no END": (1, 1, lambda a, b: a.made(end=b"")),
    "neither checksum nor END": (1, 1, lambda a, b: a.made(tail=b"", end=b"")),
    "another END": (1, 1, lambda a, b: a.made(end=b"-----END PGP PUBLIC KEY-----\n")),
    "four dashes": (1, 1, lambda a, b: a.made(end=b"----END PGP PUBLIC KEY BLOCK----\n")),
    "NULs behind it": (1, 1, lambda a, b: a.whole + b"\0\0"),
    # More than gpg, and nothing else than what stands there.
    "CR": (0, 1, lambda a, b: a.whole.replace(b"\n", b"\r")),
    "a byte order mark": (0, 1, lambda a, b: b"\xef\xbb\xbf" + a.whole),
    "BEGIN twice": (0, 1, lambda a, b: BEGIN + b"\n" + a.whole),
    "a wrong checksum before another key": (0, 1, lambda a, b: a.made(tail=b"=AAAA\n") + b.whole),
    # Neither.
    "a blank before BEGIN": (0, 0, lambda a, b: b" " + a.whole),
    "text behind BEGIN": (0, 0, lambda a, b: a.made(begin=BEGIN + b" x")),
    "text before BEGIN": (0, 0, lambda a, b: b"hello " + a.whole),
    "everything indented": (0, 0, lambda a, b: b"  " + a.whole.replace(b"\n", b"\n  ")),
    "quoted": (0, 0, lambda a, b: b"> " + a.whole.replace(b"\n", b"\n> ")),
    "dash-escaped": (0, 0, lambda a, b: a.whole.replace(b"-----B", b"- -----B").replace(b"-----E", b"- -----E")),
    "BEGIN without BLOCK": (0, 0, lambda a, b: a.whole.replace(b"KEY BLOCK", b"KEY")),
    "a wrong checksum": (0, 0, lambda a, b: a.made(tail=b"=AAAA\n")),
    "quoted-printable": (0, 0, lambda a, b: a.made(tail=b"=3D" + a.checksum[1:] + b"\n")),
    "another character in the data": (0, 0, lambda a, b: a.made(data=a.data[:50] + b"!" + a.data[51:])),
    "text where headers are": (0, 0, lambda a, b: a.made(headers=b"just text\n")),
    "a header without blank": (0, 0, lambda a, b: a.made(headers=b"Version:GnuPG\n")),
    # gpg says nothing of the second one.
    "two blocks without a newline between": (1, 1, lambda a, b: a.made(end=END) + b.whole),
}
NAMED = [name for name, (_, ours, _) in FORMS.items() if ours == 0] + [
    "BEGIN twice", "a wrong checksum before another key", "two blocks without a newline between",
]  # fmt: skip


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def gnupg_home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def made(keys: Keys, form: str) -> bytes:
    parts = [Parts(enarmor(keys.export(name), KEY_BLOCK)) for name in ("alice", "bob")]
    return FORMS[form][2](*parts)


@pytest.mark.warns
@pytest.mark.parametrize("form", FORMS)
def test_key_files_are_read_as_gpg_reads_them_or_what_was_not_read_is_named(
    keys: Keys, tmp_path: Path, gnupg_home: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    gpg, ours, _ = FORMS[form]
    file = tmp_path / "KEYS"
    file.write_bytes(made(keys, form))
    run = ["gpg", "--homedir", str(gnupg_home), "--batch"]
    subprocess.run([*run, "--import", str(file)], capture_output=True)
    listing = subprocess.run([*run, "--list-keys", "--with-colons"], capture_output=True, text=True).stdout
    assert len(re.findall("^pub:", listing, re.MULTILINE)) == gpg
    with caplog.at_level(logging.WARNING, "gtfs"):
        if ours:
            found = read_keyrings([file])
            assert len(found) == ours
            for primary, key in found.items():  # and the same key as from the plain file
                name = next(n for n in ("alice", "bob") if keys[n] == primary)
                assert key.to_bytes() == keys.export(name)
        else:
            with pytest.raises(BadKeyring, match=r"line 1: |the key of line 1: ") as caught:
                read_keyrings([file])
            assert "no OpenPGP public key" not in str(caught.value)
    assert bool(caplog.records) == (form in NAMED and ours > 0)


def test_every_form_that_is_not_read_in_full_is_named(keys: Keys) -> None:
    for form in FORMS:
        assert bool(read_key_blocks(made(keys, form)).skipped) == (form in NAMED), form
