# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of this process's sockets are broken."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import closing

import pytest

from gtfs.swarm import nodelay
from gtfs.swarm.nodelay import Connection, NoDelay, break_connections, hang_up


def test_of_two_connections_with_one_peer_only_the_one_that_was_named_is_broken():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        endpoint = server.getsockname()
        with (
            closing(socket.create_connection(endpoint)) as one,
            closing(server.accept()[0]) as its_end,
            closing(socket.create_connection(endpoint)) as other,
            closing(server.accept()[0]) as other_end,
        ):
            assert break_connections([Connection(one.getsockname()[1], endpoint)]) == 1
            assert its_end.recv(1) == b""
            other.sendall(b"x")
            assert other_end.recv(1) == b"x"


def is_set(connection: socket.socket) -> bool:
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_no_delay_is_set_once_on_each_connection_with_a_peer_that_was_named_whenever_it_is_named():
    no_delay = NoDelay()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        endpoint = server.getsockname()
        with (
            closing(socket.create_connection(endpoint)) as one,
            closing(server.accept()[0]) as its_end,
            closing(socket.socketpair()[0]),
        ):
            assert no_delay.set({("192.0.2.1", 1)}) == 0
            assert no_delay.set({endpoint}) == 1
            assert is_set(one) and not is_set(its_end)
            assert no_delay.set({endpoint}) == 0
            number = one.fileno()
            one.close()
            with closing(socket.create_connection(endpoint)) as other, closing(server.accept()[0]):
                assert other.fileno() == number  # another socket of the same number
                assert no_delay.set({endpoint}) == 1
                assert is_set(other)


def test_a_number_that_is_a_pipe_by_now_is_left_alone_and_its_reader_hears_of_its_end(monkeypatch: pytest.MonkeyPatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(nodelay, "_sockets", lambda: {writer: 1})
    assert NoDelay().set({("192.0.2.1", 1)}) == 0
    assert break_connections([Connection(1, ("192.0.2.1", 1))]) == 0
    os.close(writer)
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_where_no_descriptor_is_left_nothing_is_looked_at_and_nothing_fails():
    """A session ends with whatever its tasks raise, and all repositories of a daemon with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    no_delay, endpoints = NoDelay(), {("192.0.2.1", 1)}
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        found = no_delay.set(endpoints), hang_up(endpoints), break_connections([])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (0, 0, 0)
