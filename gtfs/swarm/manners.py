# SPDX-License-Identifier: GPL-3.0-or-later
"""How a session behaves towards the network it is in: proxy, encryption, ports and interface. Pure; any thread."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from gtfs.errors import Blame, GtfsError

ENCRYPTION = ("required", "enabled", "disabled")
ANY_PORT_TRIES = 5


class BadManners(GtfsError):
    """A setting of the swarm that does not fit; names itself."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class Proxy:
    """A SOCKS5 proxy, which looks up host names too; ``user`` "" for none."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    url: str = ""


def parse_proxy(text: str) -> Proxy:
    """A proxy from ``socks5://[USER:PASSWORD@]HOST:PORT``; raises `BadManners`."""
    wrong = BadManners(f"proxy={text}: not socks5://HOST:PORT")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("socks5", "socks5h") or not host or not port or parts.path.strip("/") or parts.query:
        raise wrong
    url = "socks5" + text[text.index(":") :]
    return Proxy(host, port, unquote(parts.username or ""), unquote(parts.password or ""), url)


def parse_ports(text: str) -> tuple[int, int]:
    """The first and last of ``6881-6889`` or ``6881``; raises `BadManners`."""
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(n.isascii() and n.isdigit() and 0 < int(n) < 65536 for n in numbers) or int(first) > int(numbers[1]):
        raise BadManners(f"port={text}: not a port or a range such as 6881-6889")
    return int(numbers[0]), int(numbers[1])


def port_choices(listen: str, ports: tuple[int, int] | None) -> Iterator[int]:
    """Ports to try in place of port 0, one after the other."""
    if ports is None:
        for _ in range(ANY_PORT_TRIES):
            yield free_port()
        return
    addresses = [place.strip().rpartition(":")[0] for place in listen.split(",") if place.strip().endswith(":0")]
    for port in range(ports[0], ports[1] + 1):
        if all(_is_free(address, port) for address in addresses):
            yield port


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(address: str, port: int) -> bool:
    """Whether one could listen there; a name of an interface is libtorrent's to judge."""
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return True
    try:
        probing = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
    except OSError:
        return True  # a kernel without IPv6: the other addresses may do
    with contextlib.closing(probing) as probe:
        if ip.version == 6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(ip), port))
        except PermissionError:
            return True  # below 1024: libtorrent says it better
        except OSError:
            return False
    return True
