# SPDX-License-Identifier: GPL-3.0-or-later
"""One pack to write, and what its writer hears."""

from __future__ import annotations

import os
import random

from fakefs import make_pack


def name_of(payload: bytes) -> str:
    return make_pack(payload)[0].hex() + ".pack"


PAYLOAD = b"written " + random.Random(1).randbytes(700_000)
OID, DATA = make_pack(PAYLOAD)
NAME = OID.hex() + ".pack"


def is_taken_in(m, payload: bytes = PAYLOAD) -> bool:
    m.wait_verified(name_of(payload))
    m.wait(lambda: os.listdir(m.state / "incoming") == [], "the others that were written are taken in, too")
    return (m.dir / name_of(payload)).read_bytes() == make_pack(payload)[1] and not os.listdir(m.state / "quarantine")


def written(m, data: bytes, name: str = NAME) -> int:
    """What close() says after writing in one go: 0 or an errno."""
    fd = os.open(m.dir / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, data)
    finally:
        try:
            os.close(fd)
            said = 0
        except OSError as error:
            said = error.errno or -1
    return said
