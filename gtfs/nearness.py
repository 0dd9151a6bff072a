# SPDX-License-Identifier: GPL-3.0-or-later
"""How near to this machine an address is, also as a URL's host: what comes from afar must not lead nearer.

Pure; nothing is looked up. Any thread.
"""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from typing import Final

OPEN, NEAR, HERE = range(3)  # the open Internet, a private network, this machine and its links
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_DOT: Final = "\u3002"  # a dot of IDNA (RFC 3490, 3.1), too; NFKC makes its two others this one or a plain one


def nearness(address: str) -> int:
    """0 for an address of the open Internet, 1 for one of a private network, 2 for this machine and its links."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return nearness(str(inner))
    if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
        return HERE
    return OPEN if ip.is_global else NEAR


def nearness_of_host(host: str) -> int:
    """The same of a host, in lower case: of a name that has still to be looked up, `OPEN`.

    An address counts in every spelling that getaddrinfo(3) takes for one: 127.1, 0x7f000001, 2130706433; and with
    every dot of IDNA.
    """
    plain = unicodedata.normalize("NFKC", host).replace(_DOT, ".").rstrip(".")
    if plain == "localhost" or plain.endswith(".localhost"):
        return HERE
    try:
        return nearness(plain)
    except ValueError:
        pass
    try:
        return nearness(socket.inet_ntoa(socket.inet_aton(plain)))
    except (OSError, UnicodeError):
        return OPEN
