# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the control socket, when the other end is not what it should be."""

from __future__ import annotations

import json
import socket
import threading

import pytest
import trio
import trio.testing

from gtfs.errors import GtfsError
from gtfs.node import control
from gtfs.node.control import answer_task, listen
from gtfs.state.control import NodeFailed, ask_node

NEEDED = {"do": "torrents", "out": "/tmp/x", "packs": False, "trackers": []}


async def answers_of(state, lines):
    """What a node says to each line, on connections of their own; it lives to the last one."""
    seen = []

    async def handler(request, tell):
        seen.append(request)
        return {"is": "fine"}

    answers = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_task, listen(state), {"publish": handler, "torrents": handler})
        for line in lines:
            async with await trio.open_unix_socket(str(state / "control")) as stream:
                await stream.send_all(line + b"\n")
                got = b"".join([piece async for piece in stream])
            answers.append(json.loads(got))
        nursery.cancel_scope.cancel()
    return answers, seen


BAD = [
    b"", b"x", b"[" * 100_000, b'{"do":' * 50_000, b"1" * 100_000, b"NaN", b"null", b"[]", b'"publish"', b"\xff\xfe",
    b"{}", b'{"do": null}', b'{"do": []}', b'{"do": {}}', b'{"do": 1}', b'{"do": "format c:"}', b'{"do": "torrents"}',
    *(json.dumps({"do": "publish", "jobs": jobs}).encode() for jobs in ("1", 0, -1, 10**30, 1.5, True, [])),
    b'{"do": "publish", "jobs": NaN}',
    *(json.dumps({"do": "publish", "force": force}).encode() for force in ("yes", 1, None, [])),
    *(json.dumps({**NEEDED, "out": out}).encode() for out in (None, 1, "", "x", "/a\0b", "/\ud800", ["/x"])),
    *(json.dumps({**NEEDED, "trackers": trackers}).encode() for trackers in (None, "x", {}, [1], ["\ud800"], ["a\nb"])),
    json.dumps({**NEEDED, "packs": "no"}).encode(),
    *(json.dumps({**NEEDED, "what": what}).encode() for what in (None, "x", [""], [1], ["a\0b"], ["\ud800"])),
    json.dumps({**NEEDED, "what": ["x"] * 1001}).encode(),
]  # fmt: skip


def test_a_request_of_any_form_gets_an_error_and_the_node_lives(tmp_path):
    good = [
        json.dumps(NEEDED).encode(),
        b'{"do": "publish", "force": true, "jobs": 2}',
        b'{"do": "publish", "jobs": null}',
    ]
    answers, seen = trio.run(answers_of, tmp_path, [*BAD, *good])
    for line, answer in zip(BAD, answers[: len(BAD)], strict=True):
        assert answer["exit_code"] == 1, line[:60]
        assert answer["error"]
    assert answers[len(BAD) :] == [{"done": {"is": "fine"}}] * 3
    assert len(seen) == 3


def test_a_request_without_an_end_gets_an_error(tmp_path):
    (answer,), _ = trio.run(answers_of, tmp_path, [b"x" * control._MAX_LINE])
    assert answer["exit_code"] == 1


def test_a_failure_of_the_work_is_told_and_the_node_lives(tmp_path):
    async def fail(request, tell):
        raise GtfsError("no")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_task, listen(tmp_path), {"publish": fail})
            for _ in range(2):
                with pytest.raises(NodeFailed, match="no"):
                    await trio.to_thread.run_sync(ask_node, tmp_path, {"do": "publish"}, lambda p: None)
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"x\n", b"[" * 100_000 + b"\n", b"[]\n", b"1\n", b"{}\n", b'{"done": 1}\n', b'{"done": null}\n',
        b'{"error": 1}\n', b'{"error": "x"}\n', b'{"error": "x", "exit_code": "y"}\n',
        b'{"error": "x", "exit_code": 1000}',
        b'{"progress": []}\n', b'{"progress": {}}\n', b'{"progress": {"packs": null}}\n', b"1" * 100_000 + b"\n",
    ],
    ids=range(16),
)  # fmt: skip
def test_a_strange_program_at_the_socket_is_one_clear_error(tmp_path, answer):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "control"))
        s.listen()

        def serve():
            connection, _ = s.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NodeFailed):
            ask_node(tmp_path, {"do": "status"}, lambda p: p["packs"] + 1)
        thread.join()


def test_an_answer_of_a_node_comes_with_its_progress(tmp_path):
    async def work(request, tell):
        tell({"packs": 1})
        await trio.testing.wait_all_tasks_blocked()
        return {"x": 2}

    async def main():
        told = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_task, listen(tmp_path), {"publish": work})
            done = await trio.to_thread.run_sync(ask_node, tmp_path, {"do": "publish"}, told.append)
            nursery.cancel_scope.cancel()
        return done, told

    assert trio.run(main) == ({"x": 2}, [{"packs": 1}])


@pytest.mark.warns
def test_a_fault_of_ours_in_one_request_is_told_and_logged_with_its_place_and_all_goes_on(tmp_path, caplog):
    async def fail(request, tell):
        raise KeyError("oid")

    async def fine(request, tell):
        return {"is": "fine"}

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_task, listen(tmp_path), {"publish": fail, "status": fine})
            with pytest.raises(NodeFailed, match=r"a fault of gtfs hindered it \(KeyError: 'oid'\)") as error:
                await trio.to_thread.run_sync(ask_node, tmp_path, {"do": "publish"}, print)
            assert error.value.exit_code == 1
            assert await trio.to_thread.run_sync(ask_node, tmp_path, {"do": "status"}, print) == {"is": "fine"}
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]
