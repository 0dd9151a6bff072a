# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read the overview."""

from __future__ import annotations

import os
import socket

import pytest

from gtfs.overview.readers import AllowedReaders, StatusPlace, uid_of


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "192.0.2.7:1", "localhost", "LOCALHOST:8"]
)
def test_addresses_and_this_machine_are_hosts(host: str) -> None:
    assert AllowedReaders(StatusPlace()).knows_host(host)


def test_the_name_of_this_machine_is_one() -> None:
    assert AllowedReaders(StatusPlace()).knows_host(f"{socket.gethostname()}:80")


@pytest.mark.parametrize(
    "host",
    ["", ":80", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "a b"],
)
def test_another_name_is_none(host: str) -> None:
    assert not AllowedReaders(StatusPlace()).knows_host(host)


@pytest.mark.parametrize(("family", "at"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_tells_whose_the_other_end_is(family: socket.AddressFamily, at: str) -> None:
    with socket.create_server((at, 0), family=family) as server, socket.socket(family) as client:
        client.connect(server.getsockname())
        with server.accept()[0] as accepted:
            ends = accepted.getpeername()[:2], accepted.getsockname()[:2]
            assert uid_of(*ends) == os.geteuid()
            assert AllowedReaders(StatusPlace(at)).lets_in(*ends)
            client.close()
            assert uid_of(*ends) is None  # nobody's: not root's, as the kernel shows it then
            assert not AllowedReaders(StatusPlace(at)).lets_in(*ends)


def test_a_client_of_either_kind_of_socket_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        with server.accept()[0] as accepted:
            assert uid_of(accepted.getpeername(), accepted.getsockname()) == os.geteuid()


def test_everybody_may_where_it_was_said_or_where_the_address_is_everybodys() -> None:
    nobody = ("127.0.0.1", 1), ("127.0.0.1", 2)
    assert not AllowedReaders(StatusPlace()).lets_in(*nobody)
    assert AllowedReaders(StatusPlace(), None).lets_in(*nobody)
    assert AllowedReaders(StatusPlace("192.0.2.1")).lets_in(*nobody)
