# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from waiting import WAIT_S

from gtfs.node.attesters import Attesters


@pytest.mark.trio
@pytest.mark.warns
async def test_refs_that_cannot_move_by_a_sign_off_that_came_do_not_end_the_node():
    state = SimpleNamespace(config=SimpleNamespace(get_all=lambda _key: []))

    async def keep(*_what):
        return True

    tries = []

    async def move_refs():
        tries.append(len(tries))
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        nursery.cancel_scope.cancel()

    attesters = Attesters(state, SimpleNamespace(run=keep), (), None, 300.0, move_refs)
    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attesters.run_task)
            await attesters.take(b"one")
            while not tries:
                await trio.lowlevel.checkpoint()
            await attesters.take(b"another")
    assert tries == [0, 1]
