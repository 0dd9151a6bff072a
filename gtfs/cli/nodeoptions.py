# SPDX-License-Identifier: GPL-3.0-or-later
"""``-o`` for the node: what mount, sync, seed and fstab may say about feeds, peers and keys. Main thread."""

from __future__ import annotations

import ipaddress
import pwd
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gtfs.catalogue.addresses import TRACKER_SCHEMES, is_address
from gtfs.errors import Blame, GtfsError
from gtfs.feed import Feed, FileFeed, parse_feed
from gtfs.ids import BadId, Fingerprint, parse_fingerprint
from gtfs.mount.options import OWN, Kind, MountOptions, Option, count, read_options, seconds, size, split_options
from gtfs.node.options import NodeOptions
from gtfs.overview.health import Thresholds
from gtfs.overview.options import OverviewOptions
from gtfs.overview.readers import StatusPlace
from gtfs.pack.limits import LIMITS, Limits, option_of
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.manners import ENCRYPTION, parse_ports, parse_proxy
from gtfs.swarm.options import SwarmOptions

_MEET_CHARACTERS = 1000
_RATE_MOST = 2047 << 20  # libtorrent's are of 31 bits

_SWARM = SwarmOptions(dht=True, lsd=True)  # a user may want to speak to strangers, a test does not


class BadNodeOption(GtfsError):
    """An option's value that does not fit."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class CommandOptions:
    """What the command itself does with ``-o``."""

    repo: Path | None = None
    logfile: Path | None = None


class Said(NamedTuple):
    """What every ``-o`` said together, each part as its reader takes it."""

    command: CommandOptions
    mount: MountOptions
    node: NodeOptions
    trust: TrustGiven
    overview: OverviewOptions
    thresholds: Thresholds


def _path(text: str, option: str) -> Path:
    # Made absolute before a mount goes to the background, which leaves the working directory.
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as e:
        raise BadNodeOption(f"{option}={text}: {e}") from None


def _directory(text: str, option: str) -> Path:
    path = _path(text, option)
    if not path.is_dir():
        raise BadNodeOption(f"{option}={text}: there is no such directory")
    return path


def _logfile(text: str, option: str) -> Path:
    path = _path(text, option)
    if path.is_dir() or not path.parent.is_dir():
        raise BadNodeOption(f"{option}={text}: not a file in a directory that exists")
    return path


def _signer(text: str, option: str) -> Fingerprint:
    try:
        return parse_fingerprint(text)
    except BadId as e:
        raise BadNodeOption(f"{option}={text}: {e}") from None


def _feed(text: str, option: str) -> Feed:
    try:
        feed = parse_feed(text)
        if urlsplit(text).port == 0:
            raise ValueError("port 0")
    except (ValueError, GtfsError) as e:
        raise BadNodeOption(f"{option}={text}: {getattr(e, 'reason', e)}") from None
    is_path = isinstance(feed, FileFeed) and not text.startswith("file:")
    return parse_feed(str(_path(text, option))) if is_path else feed


def _attester(text: str, option: str) -> Feed:
    if text.partition(":")[0].lower() == "gtfs":
        raise BadNodeOption(f"{option}={text}: attestations are files, or under file:, http: or https: URLs")
    return _feed(text, option)


def _meet(text: str, option: str) -> str:
    if not (0 < len(text) <= _MEET_CHARACTERS and text.isprintable()):
        raise BadNodeOption(f"{option}={text!a}: not a name of at most {_MEET_CHARACTERS} printable characters")
    return text


def check_tracker(text: str, option: str) -> str:
    """The address of a tracker as catalogues may name it; raises `BadNodeOption`."""
    if not is_address(text, TRACKER_SCHEMES):
        raise BadNodeOption(f"{option}={text}: no http, https or udp address such as udp://example.org:6969/announce")
    return text


def parse_peer(text: str, option: str = "peer") -> tuple[tuple[str, int], ...]:
    """The addresses of HOST:PORT (or [V6]:PORT); raises `BadNodeOption`."""
    host, _, port = text.rpartition(":")
    if not host or not _is_port(port, least=1) or (":" in host and not host.startswith("[")):
        raise BadNodeOption(f"{option}={text}: not HOST:PORT (an IPv6 address stands in brackets)")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise BadNodeOption(f"{option}={text}: {getattr(e, 'strerror', None) or e}") from None
    return tuple((str(address[0]), int(address[1])) for *_, address in found)


def _is_port(text: str, least: int = 0) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and least <= int(text) < 65536


def _interface(text: str, option: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        names = [name for _, name in socket.if_nameindex()]
        if text not in names:
            raise BadNodeOption(
                f"{option}={text}: neither an address nor a network interface; there are: {' '.join(names)}"
            ) from None
    return text


def _listen(text: str, option: str) -> str:
    places = [place.strip() for place in text.split(",")]
    for place in places:
        host, _, port = place.rpartition(":")
        if not host or not _is_port(port) or (":" in host and not (host[0] == "[" and host[-1] == "]")):
            raise BadNodeOption(f"{option}={place}: not ADDRESS:PORT such as 0.0.0.0:6881 or [::]:6881")
        _interface(host.removeprefix("[").removesuffix("]"), option)
    return ",".join(places)


def _status_place(text: str, option: str) -> StatusPlace:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadNodeOption(f"{option}={text}: an IPv6 address stands in brackets, such as [::1]:8080")
    try:
        address = ipaddress.ip_address(host) if colon else None
    except ValueError:
        address = None
    if (colon and (address is None or getattr(address, "scope_id", None))) or not _is_port(port):
        raise BadNodeOption(f"{option}={text}: not PORT or ADDRESS:PORT such as 8080 or 127.0.0.1:8080")
    return StatusPlace(port=int(port)) if address is None else StatusPlace(str(address), int(port))


def _status_user(text: str, option: str) -> int | None:
    if text == "*":
        return None
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise BadNodeOption(f"{option}={text}: there is no such user; * is everybody on this machine") from None


def _one_of(known: Sequence[str]) -> Callable[[str, str], str]:
    def parse(text: str, option: str) -> str:
        if text not in known:
            raise BadNodeOption(f"{option}={text}: not one of {', '.join(known)}")
        return text

    return parse


def _each(parse: Callable[[str, str], Any]) -> Callable[[str, str], tuple[Any, ...]]:
    return lambda text, option: (parse(text, option),)


_PEER = Kind("HOST:PORT", parse_peer)
_RATE = size(most=_RATE_MOST)
_CACHE = size(least=1)

NODE: Mapping[str, Option] = {
    "repo": Option(
        CommandOptions, "repo", Kind("PATH", _path),
        "the backing repository of a mirror (default: one in the user's data directory)",
    ),
    "keyring": Option(
        TrustGiven, "keyrings", Kind("FILE", _each(_path)),
        "keys that may sign commits (a single one: catalogues too), a file or directory; may be given again", many=True,
    ),
    "signer": Option(
        TrustGiven, "signers", Kind("FPR", _each(_signer)),
        "full fingerprint of who may sign the first catalogue, beside any keyring; may be given again", many=True,
    ),
    "threshold": Option(
        TrustGiven, "threshold", count(1, 32), "how many of those signers must have signed the first catalogue"
    ),
    "gnupghome": Option(
        TrustGiven, "gnupg_home", Kind("DIR", _directory), "where the user's own keys are, for signers in no keyring"
    ),
    "feed": Option(
        NodeOptions, "feeds", Kind("URL", _each(_feed)),
        "another place where newer catalogues may be; may be given again", many=True,
    ),
    "attester": Option(
        NodeOptions, "attesters", Kind("URL", _each(_attester)),
        "a place where an attester's sign-offs may be; may be given again", many=True,
    ),
    "hooks": Option(
        NodeOptions, "hooks", Kind("DIR", _each(_directory)),
        "has hooks moved, published, withdrawn, trouble and offered, beside the repository's; may be given again",
        many=True,
    ),
    "meet": Option(
        NodeOptions, "meet", Kind("NAME", _meet),
        "meet others who say NAME, a collection's URL say, and announce no reel that is whole",
    ),
    "peer": Option(SwarmOptions, "peers", _PEER, "ask this node; may be given again", many=True),
    "tracker": Option(
        SwarmOptions, "trackers", Kind("URL", _each(check_tracker)), "ask this tracker too; may be given again",
        many=True,
    ),
    "dht_node": Option(SwarmOptions, "dht_nodes", _PEER, "enter the DHT by this node; may be given again", many=True),
    "nodht": Option(SwarmOptions, "dht", False, "stay out of the DHT"),
    "nolsd": Option(SwarmOptions, "lsd", False, "do not call for peers on the local network"),
    "nopex": Option(SwarmOptions, "pex", False, "do not tell peers of each other"),
    "nobell": Option(SwarmOptions, "bells", False, "neither tell peers of newer catalogues nor hear of them"),
    "port_mapping": Option(SwarmOptions, "port_mapping", True, "ask the router, by NAT-PMP or UPnP, to let peers in"),
    "listen": Option(
        SwarmOptions, "listen", Kind("ADDR:PORT,...", _listen), "where peers may connect; port 0 is any free port"
    ),
    "port": Option(
        SwarmOptions, "ports", Kind("FIRST-LAST", lambda text, _: parse_ports(text)),
        "a port of this range, where listen= says 0 (port=N: this one)",
    ),
    "interface": Option(
        SwarmOptions, "interface", Kind("NAME", _interface),
        "listen there and connect from there only: a network interface, or an address of one",
    ),
    "proxy": Option(
        SwarmOptions, "proxy", Kind("URL", lambda text, _: parse_proxy(text)),
        "socks5://HOST:PORT for peers, trackers and feeds; what would go around it is off",
    ),
    "encryption": Option(
        SwarmOptions, "encryption", Kind("WHICH", _one_of(ENCRYPTION), words=tuple(ENCRYPTION)),
        "required, enabled or disabled",
    ),
    "utp": Option(SwarmOptions, "utp", True, "speak uTP too, which gives way to other traffic"),
    "connections": Option(SwarmOptions, "connections", count(1, 65535), "connections at most, of all reels"),
    "cache_size": Option(
        NodeOptions, "cache_bytes", _CACHE, "of reels kept on disk by a mirror; only what others seed is let go of"
    ),
    "upload_rate": Option(SwarmOptions, "upload_rate", _RATE, "bytes a second; 0 is no limit"),
    "download_rate": Option(SwarmOptions, "download_rate", _RATE, "bytes a second; 0 is no limit"),
    "inbox": Option(NodeOptions, "inbox_s", seconds(least=1), "how often a publisher looks for what others offer"),
    "poll": Option(NodeOptions, "poll_s", seconds(least=1), "how often feeds are asked"),
    "table_timeout": Option(NodeOptions, "table_s", seconds(), "how long looks into a new mount wait for tables"),
    "prefetch": Option(NodeOptions, "prefetch", True, "fetch everything, and whatever a newer catalogue brings"),
    "offline": Option(NodeOptions, "offline", True, "no swarm: what is not here cannot be read"),
    "logfile": Option(
        CommandOptions, "logfile", Kind("FILE", _logfile), "where a mount in the background, or seed, writes its log"
    ),
    "status": Option(
        OverviewOptions, "place", Kind("[ADDR:]PORT", _status_place),
        "serve a web page there that shows how the repositories fare, and metrics",
    ),
    "status_user": Option(
        OverviewOptions, "users", Kind("NAME", _each(_status_user)),
        "let this user of this machine read it too (*: everybody); may be given again", many=True,
    ),
    "max_lag": Option(Thresholds, "max_lag_s", seconds(), "refs behind the catalogue for longer are shown as lagging"),
    "max_silence": Option(Thresholds, "max_silence_s", seconds(), "so is who heard from no feed for longer"),
    "max_age": Option(Thresholds, "max_age_s", seconds(), "and who holds a catalogue older than this"),
    "jobs": Option(NodeOptions, "jobs", count(1, 1024), "processes that encode (default: one for each core)"),
    **{
        option_of(name): Option(Limits, name, size(least=1), "a limit of what is let in, see gtfs-pack(5)")
        for name in LIMITS
    },
}  # fmt: skip

TABLE: Mapping[str, Option] = {**OWN, **NODE}


def parse(texts: Sequence[str]) -> Said:
    """Every ``-o`` together; raises `BadMountOption`, `BadNodeOption`, `BadManners`."""
    given = read_options(",".join(texts), TABLE)
    mount = MountOptions(**given[MountOptions])
    # Longer than a read waits: in a sync peers may still be looking for each other.
    node = NodeOptions(**given[NodeOptions], limits=given[Limits], stall_s=2 * mount.read_timeout_s)
    swarm = replace(_SWARM, **given[SwarmOptions], seeks_seeds=node.cache_bytes is not None)
    if swarm.interface and "listen" not in given[SwarmOptions]:
        swarm = replace(swarm, listen=f"[{swarm.interface}]:0" if ":" in swarm.interface else f"{swarm.interface}:0")
    if swarm.proxy is not None:  # what would go around it
        swarm = replace(swarm, dht=False, lsd=False, utp=False, port_mapping=False)
    trust = TrustGiven(**given[TrustGiven])
    overview, thresholds = OverviewOptions(**given[OverviewOptions]), Thresholds(**given[Thresholds])
    return Said(CommandOptions(**given[CommandOptions]), mount, replace(node, swarm=swarm), trust, overview, thresholds)


def check_own(texts: Sequence[str]) -> None:
    """Words about one repository of several in a process; raises what `parse` does, `BadNodeOption` for the others."""
    for name, _ in split_options(",".join(texts)):
        option = TABLE.get(name)
        if option is not None and (option.of not in (NodeOptions, TrustGiven, Limits) or name == "offline"):
            raise BadNodeOption(f"{name} is nothing of one repository; the swarm's options are those of [defaults]")
    parse(texts)


def check_process(texts: Sequence[str]) -> Said:
    """Words about a process without a mount; raises what `parse` does, `BadNodeOption` for what is of none."""
    said = parse(texts)
    if said.node.offline:
        raise BadNodeOption("offline: there is nothing to seed without a swarm")
    return said


def default_text(option: Option) -> str:
    """An option's default as it would be typed, "" where there is none to type."""
    if isinstance(option.kind, bool):
        return ""
    base = next(f for f in fields(option.of) if f.name == option.sets).default
    return "" if base is MISSING or base is None or base in ("", ()) else option.kind.show(base)


def option_rows(table: Mapping[str, Option] = TABLE) -> list[tuple[str, str]]:
    """Each option as it is typed, and what it means."""
    rows = []
    for name, option in sorted(table.items()):
        default = default_text(option)
        typed = name if isinstance(option.kind, bool) else f"{name}={option.kind.metavar}"
        rows.append((typed, option.help + (f" (default {default})" if default else "")))
    return rows
