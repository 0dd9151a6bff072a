# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of the swarm, and the measurements of facts.md, mean to libtorrent.

Any thread; `make_session` blocks for a moment.
"""

from __future__ import annotations

import ipaddress
import resource
from typing import Any

import libtorrent as lt

from gtfs.metainfo import MAX_METAINFO_BYTES
from gtfs.swarm.alerts import ALERT_MASK
from gtfs.swarm.manners import Proxy, free_port
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.slots import EVERYBODY

__all__ = ["SwarmOptions", "fill_ports", "free_port", "libtorrent_settings", "make_session"]

UNLIMITED = (1 << 31) - 1
ALERT_QUEUE = 200_000
# In a DHT of few nodes, or at the one that users name, each asks everything of each. libtorrent hears nothing from an
# address for 5 minutes after 10 s of more than 5 packets a second, its answers to ours counted: publisher and mirror
# shut each other out within a release, and so did two clones of one host (facts.md).
DHT_PACKETS = 1000  # a second, from one address
DHT_BYTES = 32_000  # a second, of answers: a reflector of forged questions must stay small


def fill_ports(listen: str, port: int) -> str:
    """``listen`` with ``port`` in place of every port 0: libtorrent would take another one for each address."""
    places = (place.strip().rpartition(":") for place in listen.split(","))
    return ",".join(f"{address}:{port if number == '0' else number}" for address, _, number in places)


def _most_connections() -> int:
    """Half of the files that may be open: the rest is for reels, indexes and programs."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft // 2


def make_session(options: SwarmOptions, listen: str, peer_id: bytes) -> Any:
    """A new libtorrent session; it starts to listen at once."""
    settings: Any = {**libtorrent_settings(options, listen), "peer_fingerprint": peer_id}
    session = lt.session(settings)
    if options.upload_rate or options.download_rate:
        # Otherwise libtorrent's limits do not hold for peers on the local network, loopback included.
        everybody = lt.ip_filter()
        for first, last in (("0.0.0.0", "255.255.255.255"), ("::", ":".join(["ffff"] * 8))):  # noqa: S104
            everybody.add_rule(first, last, 1 << session.global_peer_class_id)
        session.set_peer_class_filter(everybody)
    return session


def _dht_limits(options: SwarmOptions) -> dict[str, Any]:
    """Many nodes on one address are an attack, except where all are on this machine."""
    at_home = all(_is_loopback(host) for host in listen_hosts(options.listen))
    at_home = at_home or (bool(options.dht_nodes) and all(_is_loopback(host) for host, _ in options.dht_nodes))
    return {
        "dht_restrict_routing_ips": not at_home,
        "dht_restrict_search_ips": not at_home,
        "dht_block_ratelimit": DHT_PACKETS,
        "dht_upload_rate_limit": DHT_BYTES,
    }


def listen_hosts(listen: str) -> list[str]:
    """The addresses, each in its shortest form, or network interfaces of a list as libtorrent takes it."""
    return [_shortest(place.strip().rpartition(":")[0].strip("[]")) for place in listen.split(",")]


def _shortest(host: str) -> str:
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:  # an interface's name
        return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "lo"


def libtorrent_settings(options: SwarmOptions, listen: str) -> dict[str, Any]:
    """The settings_pack; every setting here that is no option has its reason in facts.md or beside it."""
    settings: dict[str, Any] = {
        "alert_mask": ALERT_MASK,
        "alert_queue_size": ALERT_QUEUE,
        "user_agent": "gtfs",
        "listen_interfaces": listen,
        "listen_system_port_fallback": False,  # a chosen port that is taken is an error, not another port
        "max_retry_port_bind": 0,
        "enable_dht": options.dht,
        "dht_bootstrap_nodes": "",  # libtorrent's own is a stranger whom nobody named
        **_dht_limits(options),
        "enable_lsd": options.lsd,
        "enable_upnp": options.port_mapping,
        "enable_natpmp": options.port_mapping,
        "enable_incoming_utp": options.utp,
        "enable_outgoing_utp": options.utp,
        "upload_rate_limit": options.upload_rate,
        "download_rate_limit": options.download_rate,
        "connections_limit": min(options.connections, _most_connections()),
        # A lazy torrent has all it wants most of the time: it must keep its peers and be able to dial again.
        "close_redundant_connections": False,
        "seeding_outgoing_connections": options.seeks_seeds,
        "min_reconnect_time": 1,
        "peer_turnover": 0,
        "tick_interval": 100,
        "connection_speed": 1000,
        "peer_connect_timeout": 7,
        "request_timeout": 20,
        # What was asked for and has not come, others do not hear of: they ask the publisher for the same. Of 8 mirrors
        # on 8 Mbit/s, these two took it from 2.0 times the reel to 1.4 (libtorrent: 3 s, and whole pieces).
        "request_queue_time": 1,
        "whole_pieces_threshold": 0,
        "piece_timeout": 10,
        # Otherwise the first four pieces are random, whatever their priority: those that another mirror asks for, too.
        "initial_picker_threshold": 0,
        "allow_multiple_connections_per_ip": True,
        # Nobody is made to wait for a turn, but as `gtfs.swarm.slots` says.
        "unchoke_slots_limit": EVERYBODY,
        "unchoke_interval": 1,
        "active_downloads": -1,
        "active_seeds": -1,
        "active_checking": 2,
        "active_limit": UNLIMITED,
        "active_dht_limit": UNLIMITED,
        "active_tracker_limit": UNLIMITED,
        "active_lsd_limit": UNLIMITED,
        "announce_to_all_tiers": True,
        "announce_to_all_trackers": True,
        "tracker_completion_timeout": 15,
        "stop_tracker_timeout": 1,  # how long a dead tracker may hold up the end of the session
        "max_metadata_size": MAX_METAINFO_BYTES,
        "auto_sequential": False,
        "outgoing_interfaces": options.interface,
        **encryption_settings(options.encryption),
    }
    return {**settings, **(proxy_settings(options.proxy) if options.proxy is not None else {})}


def proxy_settings(proxy: Proxy) -> dict[str, Any]:
    """libtorrent's part. What would go around the proxy is switched off, and nobody can connect to us."""
    kind = lt.proxy_type_t.socks5_pw if proxy.user else lt.proxy_type_t.socks5
    return {
        "proxy_type": int(kind),
        "proxy_hostname": proxy.host,
        "proxy_port": proxy.port,
        "proxy_username": proxy.user,
        "proxy_password": proxy.password,
        "proxy_hostnames": True,
        "proxy_peer_connections": True,
        "proxy_tracker_connections": True,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
    }


def encryption_settings(encryption: str) -> dict[str, Any]:
    """libtorrent's part of one of `ENCRYPTION`; it hides from a middlebox, and proves nobody's identity."""
    if encryption == "required":
        policy, level = lt.enc_policy.pe_forced, lt.enc_level.pe_rc4
    elif encryption == "disabled":
        policy, level = lt.enc_policy.pe_disabled, lt.enc_level.pe_plaintext
    else:
        policy, level = lt.enc_policy.pe_enabled, lt.enc_level.pe_both
    return {"out_enc_policy": int(policy), "in_enc_policy": int(policy), "allowed_enc_level": int(level)}
