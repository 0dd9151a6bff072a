# SPDX-License-Identifier: GPL-3.0-or-later
"""``-o`` for the node: what mount, sync and their fstab lines may say about feeds, peers and keys. Main thread."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gtfs.errors import GtfsError
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.mount.options import MountOptions, parse_mount_options, parse_seconds, parse_size
from gtfs.pack.limits import Limits, option_of
from gtfs.swarm.manners import ENCRYPTION, parse_ports, parse_proxy
from gtfs.swarm.settings import SwarmOptions

LIMITS = tuple(asdict(Limits()).items())
NODE_KEYS = {
    "repo": "PATH    the backing repository of a mirror (default: one in the user's data directory)",
    "keyring": "FILE    keys that may sign the catalogue: a file or directory; may be given again",
    "signer": "FPR     full fingerprint of who may sign the first catalogue; may be given again",
    "gnupghome": "DIR     where the user's own keys are, when no keyring is given",
    "feed": "URL     another place where newer catalogues may be; may be given again",
    "peer": "HOST:PORT  ask this node; may be given again",
    "tracker": "URL     ask this tracker too; may be given again",
    "dht_node": "HOST:PORT  enter the DHT by this node; may be given again",
    "nodht": "        stay out of the DHT",
    "nolsd": "        do not call for peers on the local network",
    "nopex": "        do not tell peers of each other",
    "port_mapping": "        ask the router, by NAT-PMP or UPnP, to let peers in",
    "listen": "ADDR:PORT,...  where peers may connect (default 0.0.0.0:0,[::]:0: every address, a free port)",
    "port": "FIRST-LAST  a port of this range, where listen= says 0 (port=N: this one)",
    "interface": "NAME    listen there and connect from there only: a network interface, or an address of one",
    "proxy": "URL     socks5://HOST:PORT for peers, trackers and feeds; what would go around it is off",
    "encryption": "WHICH   required, enabled (default) or disabled",
    "utp": "        speak uTP too, which gives way to other traffic",
    "connections": "N       connections at most, of all reels (default 2000)",
    "cache_size": "SIZE    of reels kept on disk by a mirror; only what others seed is let go of",
    "upload_rate": "SIZE    bytes a second",
    "download_rate": "SIZE    bytes a second",
    "poll": "TIME    how often feeds are asked (default 5m)",
    "table_timeout": "TIME    how long a new mount waits for the tables of its reels (default 30)",
    "prefetch": "        fetch everything, and whatever a newer catalogue brings",
    "offline": "        no swarm: what is not here cannot be read",
    "logfile": "FILE    where a mount in the background writes its log",
    "jobs": "N       processes that encode (default: one for each core)",
    **{
        option_of(name): f"SIZE    a limit of what is let in, see gtfs-pack(5) (default {most})"
        for name, most in LIMITS
    },
}


class BadNodeOption(GtfsError):
    """An option's value that does not fit."""

    exit_code = 2


@dataclass(frozen=True)
class NodeSettings:
    """What ``-o`` said about the node; times in seconds."""

    repo: Path | None
    keyrings: tuple[Path, ...]
    signers: tuple[Fingerprint, ...]
    gnupg_home: Path | None
    feeds: tuple[str, ...]
    swarm: SwarmOptions | None
    poll_s: float
    table_s: float
    prefetch: bool
    logfile: Path | None
    jobs: int | None
    proxy: str | None = None
    cache_bytes: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)  # those that were given, by name


def parse(texts: Sequence[str]) -> tuple[MountOptions, NodeSettings]:
    """Both halves of every ``-o``; raises `BadMountOption`, `BadNodeOption`, `BadId`."""
    mount, node = parse_mount_options(",".join(texts), NODE_KEYS)
    return mount, _node_settings(node)


def _last(node: Mapping[str, list[str]], key: str) -> str | None:
    values = node.get(key)
    return values[-1] if values else None


def _path(text: str | None) -> Path | None:
    # Made absolute before a mount goes to the background, which leaves the working directory.
    return None if text is None else Path(text).expanduser().absolute()


def _node_settings(node: Mapping[str, list[str]]) -> NodeSettings:
    proxy = _last(node, "proxy")
    cache_size = _last(node, "cache_size")
    swarm = SwarmOptions(
        listen=_listen(node),
        ports=None if "port" not in node else parse_ports(_last(node, "port") or ""),
        interface=_last(node, "interface") or "",
        proxy=None if proxy is None else parse_proxy(proxy),
        encryption=_one_of(node, "encryption", ENCRYPTION, SwarmOptions.encryption),
        utp="utp" in node and proxy is None,
        connections=_count(node, "connections", SwarmOptions.connections),
        seeks_seeds=cache_size is not None,
        upload_rate=parse_size(_last(node, "upload_rate") or "0", "upload_rate"),
        download_rate=parse_size(_last(node, "download_rate") or "0", "download_rate"),
        trackers=tuple(node.get("tracker", ())),
        peers=tuple(address for text in node.get("peer", ()) for address in parse_peer(text)),
        dht="nodht" not in node and proxy is None,
        dht_nodes=tuple(address for text in node.get("dht_node", ()) for address in parse_peer(text, "dht_node")),
        lsd="nolsd" not in node and proxy is None,
        pex="nopex" not in node,
        port_mapping="port_mapping" in node and proxy is None,
    )
    return NodeSettings(
        repo=_path(_last(node, "repo")),
        keyrings=tuple(p for text in node.get("keyring", ()) if (p := _path(text)) is not None),
        signers=tuple(parse_fingerprint(text) for text in node.get("signer", ())),
        gnupg_home=_path(_last(node, "gnupghome")),
        feeds=tuple(node.get("feed", ())),
        swarm=None if "offline" in node else swarm,
        poll_s=max(1.0, parse_seconds(_last(node, "poll") or "5m", "poll")),
        table_s=parse_seconds(_last(node, "table_timeout") or "30", "table_timeout"),
        prefetch="prefetch" in node,
        logfile=_path(_last(node, "logfile")),
        jobs=_count(node, "jobs", 0) or None,
        proxy=None if swarm.proxy is None else swarm.proxy.url,
        cache_bytes=None if cache_size is None else parse_size(cache_size, "cache_size"),
        limits={name: parse_size(text, key) for name, _ in LIMITS if (text := _last(node, key := option_of(name)))},
    )


def _count(node: Mapping[str, list[str]], key: str, default: int) -> int:
    text = _last(node, key)
    if text is not None and not (text.isascii() and text.isdigit() and int(text)):
        raise BadNodeOption(f"{key}={text}: not a number from 1 on")
    return default if text is None else int(text)


def _one_of(node: Mapping[str, list[str]], key: str, known: Sequence[str], default: str) -> str:
    text = _last(node, key)
    if text is not None and text not in known:
        raise BadNodeOption(f"{key}={text}: not one of {', '.join(known)}")
    return default if text is None else text


def _listen(node: Mapping[str, list[str]]) -> str:
    listen, interface = _last(node, "listen"), _last(node, "interface")
    if listen is not None:
        return listen
    if interface is not None:
        return f"[{interface}]:0" if ":" in interface else f"{interface}:0"
    return SwarmOptions.listen


def parse_peer(text: str, key: str = "peer") -> list[tuple[str, int]]:
    """The addresses of HOST:PORT (or [V6]:PORT); raises `BadNodeOption`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadNodeOption(f"{key}={text}: not HOST:PORT")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as e:
        raise BadNodeOption(f"{key}={text}: {e.strerror or e}") from None
    return [(str(address[0]), int(address[1])) for *_, address in found]


def help_text() -> str:
    """The options, for the end of --help."""
    lines = ["\b", "OPTIONS OF -o FOR THE NODE (mount.fuse.gtfs(8) has those of the mount)"]
    lines += [f"  {key:<14} {text}" for key, text in sorted(NODE_KEYS.items())]
    return "\n".join(lines) + "\n\n"
