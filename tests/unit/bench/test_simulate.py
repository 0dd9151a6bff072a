# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated swarm of contrib/bench loses no bytes, and shows that mirrors share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "contrib" / "bench"))

from simswarm import BLOCK, Setting, Swarm

PIECES = 40


def run(mirrors, **more):
    setting = Setting(mirrors, PIECES, **more)
    swarm = Swarm(setting)
    return setting, swarm, swarm.run()


@pytest.mark.parametrize(("mirrors", "churn"), [(1, 0.0), (2, 0.0), (7, 0.0), (10, 0.3)])
def test_every_byte_that_was_sent_is_somewhere(mirrors, churn):
    setting, swarm, outcome = run(mirrors, churn=churn)
    on_its_way = outcome.sent - outcome.useful - outcome.twice - outcome.lost
    assert on_its_way == BLOCK * swarm.flying
    assert outcome.published <= outcome.sent
    assert len(outcome.seconds) >= mirrors - round(churn * mirrors)
    complete = [mirror for mirror in swarm.mirrors.values() if mirror.board.is_full()]
    assert all(sum(map(len, mirror.blocks)) * BLOCK == setting.size for mirror in complete)
    if not churn:
        assert outcome.useful == mirrors * setting.size
        assert outcome.published >= setting.size


def test_one_mirror_gets_each_byte_once_from_the_publisher():
    setting, _, outcome = run(1)
    assert outcome.published == outcome.useful == setting.size
    assert outcome.twice == outcome.lost == 0


def test_the_same_seed_is_the_same_run():
    assert run(6, churn=0.2, seed=5)[2] == run(6, churn=0.2, seed=5)[2]
    assert run(6, churn=0.2, seed=5)[2] != run(6, churn=0.2, seed=6)[2]


def test_sixteen_mirrors_do_not_take_twice_the_reel_from_the_publisher():
    setting, _, outcome = run(16, rate=5e6 / 8)
    assert outcome.published < 2 * setting.size
