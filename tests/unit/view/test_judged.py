# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest.examine import Examination
from gtfs.view.judged import JudgedPack, KeptExaminations


def judged(size: int) -> JudgedPack:
    examination = cast(Examination, SimpleNamespace(held_bytes=lambda: size))
    return JudgedPack(ObjectId(bytes(20)), (), PackDigest(bytes(32)), examination)


def test_examinations_that_have_no_room_are_forgotten_the_oldest_first() -> None:
    kept = KeptExaminations(100)
    packs = [judged(40) for _ in range(4)]
    for pack in packs:
        kept.add(pack)
    assert [p.examination is not None for p in packs] == [False, False, True, True]
    assert kept.held_bytes == 80
    kept.drop(packs[2])
    kept.drop(packs[2])
    assert kept.held_bytes == 40 and packs[2].examination is None


def test_one_that_is_too_large_drives_out_no_other() -> None:
    kept = KeptExaminations(100)
    small, large = judged(40), judged(101)
    for pack in (small, large):
        kept.add(pack)
    assert small.examination is not None and large.examination is None and kept.held_bytes == 40
