# SPDX-License-Identifier: GPL-3.0-or-later
"""libtorrent's alerts as named tuples, made at once: an alert used after the next pop_alerts() is a crash.

Only the alerts that the swarm acts on are translated. Trio loop only; nothing here waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import libtorrent as lt

from gtfs.ids import InfoHash
from gtfs.swarm.nodelay import plain_address

log = logging.getLogger(__name__)

ALERT_MASK: int = (
    lt.alert_category.error
    | lt.alert_category.status
    | lt.alert_category.storage
    | lt.alert_category.piece_progress
    | lt.alert_category.tracker
    | lt.alert_category.connect
)
_UNCHECKED = tuple(
    getattr(lt.torrent_status, state) for state in ("checking_files", "checking_resume_data", "downloading_metadata")
)
_SAID_CHARACTERS = 1024  # of a tracker's words, which are kept for each torrent


class Listening(NamedTuple):
    """A TCP socket accepts connections."""

    address: str
    port: int


class ListenFailed(NamedTuple):
    """A TCP socket could not be opened."""

    reason: str


class PeerConnected(NamedTuple):
    """A TCP connection to or from a peer was made; if we ``dialled``, others can dial that address too."""

    address: str
    port: int
    dialled: bool


class AlertsDropped(NamedTuple):
    """The alert queue overflowed: what was being waited for may have been among them."""


class Counters(NamedTuple):
    """Payload of the whole session since it was opened, in bytes, and connected peers."""

    downloaded_bytes: int
    uploaded_bytes: int
    peers: int
    dht_nodes: int = 0  # that our own DHT node knows


class Added(NamedTuple):
    """The answer to an added torrent; ``handle`` is a weak reference that outlives its alert."""

    infohash: InfoHash
    handle: Any
    error: str | None


class Removed(NamedTuple):
    """A torrent is gone from the session."""

    infohash: InfoHash


class Checked(NamedTuple):
    """libtorrent knows what it has of a torrent's file."""

    infohash: InfoHash


class PieceFinished(NamedTuple):
    """A downloaded piece had the right hash."""

    infohash: InfoHash
    piece: int


class FalseMetadata(NamedTuple):
    """A peer gave metadata that does not have the infohash; it was thrown away."""

    infohash: InfoHash


class HashFailed(NamedTuple):
    """A downloaded piece had a wrong hash and was thrown away."""

    infohash: InfoHash
    piece: int


class PieceRead(NamedTuple):
    """The answer to read_piece(); ``data`` is None after an error."""

    infohash: InfoHash
    piece: int
    data: bytes | None


class ResumeReady(NamedTuple):
    """The answer to save_resume_data(): resume data, the info dictionary where there is one, and who is banned."""

    infohash: InfoHash
    resume: bytes
    info: bytes | None
    banned: tuple[tuple[str, int], ...] = ()


class ResumeFailed(NamedTuple):
    """save_resume_data() had nothing to give."""

    infohash: InfoHash
    reason: str


class ResumeRejected(NamedTuple):
    """Resume data did not fit the file; libtorrent checks the file instead."""

    infohash: InfoHash
    reason: str


class Moved(NamedTuple):
    """The answer to move_storage(); ``error`` is None when it worked."""

    infohash: InfoHash
    error: str | None


class Flushed(NamedTuple):
    """The answer to flush_cache(): what was downloaded is in the file."""

    infohash: InfoHash


class TorrentFailed(NamedTuple):
    """libtorrent stopped a torrent because of an error, most often of its file."""

    infohash: InfoHash
    reason: str


class TrackerSaid(NamedTuple):
    """The last answer of a tracker; ``error`` is None when it gave peers."""

    infohash: InfoHash
    url: str
    error: str | None


class TorrentStatus(NamedTuple):
    """A torrent's counters; ``held`` has a byte (0 or 1) a piece when it was asked for."""

    infohash: InfoHash
    peers: int
    downloaded_bytes: int
    uploaded_bytes: int
    ever_downloaded_bytes: int
    ever_uploaded_bytes: int
    held: bytes | None
    is_checked: bool = True  # its file

    def counters(self) -> dict[str, int]:
        """These, by name."""
        return {
            "peers": self.peers,
            "downloaded_bytes": self.downloaded_bytes,
            "uploaded_bytes": self.uploaded_bytes,
            "ever_downloaded_bytes": self.ever_downloaded_bytes,
            "ever_uploaded_bytes": self.ever_uploaded_bytes,
        }


class StatusUpdate(NamedTuple):
    """The counters of the torrents that changed or were asked."""

    torrents: tuple[TorrentStatus, ...]


SessionEvent = Listening | ListenFailed | PeerConnected | AlertsDropped | Counters | StatusUpdate
TorrentEvent = (
    Added
    | Removed
    | Checked
    | PieceFinished
    | FalseMetadata
    | HashFailed
    | PieceRead
    | ResumeReady
    | ResumeFailed
    | ResumeRejected
    | Moved
    | Flushed
    | TorrentFailed
    | TrackerSaid
    | TorrentStatus
)
Event = SessionEvent | TorrentEvent


def pop_events(session: Any) -> list[Event]:
    """Everything that libtorrent reported since the last call, in its order."""
    events = []
    for alert in session.pop_alerts():
        translate = _TRANSLATIONS.get(type(alert))
        if translate is not None:
            event = translate(alert)
            if event is not None:
                events.append(event)
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("libtorrent: %s", _message(alert))
    return events


def _message(alert: Any) -> str:
    """What an alert says: of a file, whose path need not be UTF-8, or in the words of a tracker, which may be any
    bytes."""
    try:
        return str(alert.message())
    except UnicodeDecodeError:
        return str(alert.what())


def _error(code: Any) -> str | None:
    """What an error code says, in the machine's language, or None if it is none."""
    try:
        return str(code.message()) if code.value() else None
    except UnicodeDecodeError:
        return f"error {code.value()}"


def _of(alert: Any) -> InfoHash:
    # All zero when the torrent is gone already: no torrent of ours has that hash.
    return InfoHash(alert.handle.info_hashes().v1.to_bytes())


def _listening(alert: Any) -> Event | None:
    return Listening(alert.address, alert.port) if _is_tcp(alert) else None


def _listen_failed(alert: Any) -> Event | None:
    return ListenFailed(_message(alert)) if _is_tcp(alert) else None


def _is_tcp(alert: Any) -> bool:
    return bool(alert.socket_type == lt.socket_type_t.tcp)


def _peer_connected(alert: Any) -> Event:
    address, port = alert.endpoint
    # The binding has the alert's direction only in its text.
    return PeerConnected(plain_address(address), port, "outgoing connection" in _message(alert))


def _counters(alert: Any) -> Event:
    values = alert.values
    return Counters(
        values["net.recv_payload_bytes"],
        values["net.sent_payload_bytes"],
        values["peer.num_peers_connected"],
        values["dht.dht_nodes"],
    )


def _added(alert: Any) -> Event:
    infohash = InfoHash(alert.params.info_hashes.v1.to_bytes())
    if not any(infohash) and alert.params.ti is not None:
        infohash = InfoHash(alert.params.ti.info_hashes().v1.to_bytes())
    return Added(infohash, alert.handle, _error(alert.error))


def _piece_read(alert: Any) -> Event:
    return PieceRead(_of(alert), alert.piece, None if alert.error.value() else bytes(alert.buffer))


def _resume_ready(alert: Any) -> Event:
    params = alert.params
    info = None if params.ti is None else bytes(params.ti.info_section())
    banned = tuple((plain_address(address), port) for address, port in params.banned_peers)
    return ResumeReady(_of(alert), lt.write_resume_data_buf(params), info, banned)


def _status(status: Any) -> TorrentStatus:
    pieces = status.pieces
    return TorrentStatus(
        InfoHash(status.info_hashes.v1.to_bytes()),
        status.num_peers,
        status.total_payload_download,
        status.total_payload_upload,
        status.all_time_download,
        status.all_time_upload,
        bytes(pieces) if pieces else None,
        status.state not in _UNCHECKED,
    )


def _failed(alert: Any) -> Event:
    return TorrentFailed(_of(alert), _error(alert.error) or _message(alert))


def _tracker_failed(alert: Any) -> Event:
    return TrackerSaid(_of(alert), alert.tracker_url(), _message(alert)[:_SAID_CHARACTERS])


_TRANSLATIONS: dict[type, Callable[[Any], Event | None]] = {
    lt.listen_succeeded_alert: _listening,
    lt.listen_failed_alert: _listen_failed,
    lt.peer_connect_alert: _peer_connected,
    lt.alerts_dropped_alert: lambda alert: AlertsDropped(),
    lt.session_stats_alert: _counters,
    lt.state_update_alert: lambda alert: StatusUpdate(tuple(_status(status) for status in alert.status)),
    lt.add_torrent_alert: _added,
    lt.torrent_removed_alert: lambda alert: Removed(InfoHash(alert.info_hashes.v1.to_bytes())),
    lt.torrent_checked_alert: lambda alert: Checked(_of(alert)),
    lt.piece_finished_alert: lambda alert: PieceFinished(_of(alert), alert.piece_index),
    lt.hash_failed_alert: lambda alert: HashFailed(_of(alert), alert.piece_index),
    lt.metadata_failed_alert: lambda alert: FalseMetadata(_of(alert)),
    lt.read_piece_alert: _piece_read,
    lt.save_resume_data_alert: _resume_ready,
    lt.save_resume_data_failed_alert: lambda alert: ResumeFailed(_of(alert), _message(alert)),
    lt.fastresume_rejected_alert: lambda alert: ResumeRejected(_of(alert), _message(alert)),
    lt.storage_moved_alert: lambda alert: Moved(_of(alert), None),
    lt.storage_moved_failed_alert: lambda alert: Moved(_of(alert), _message(alert)),
    lt.cache_flushed_alert: lambda alert: Flushed(_of(alert)),
    lt.torrent_error_alert: _failed,
    lt.file_error_alert: _failed,
    lt.tracker_reply_alert: lambda alert: TrackerSaid(_of(alert), alert.tracker_url(), None),
    lt.tracker_error_alert: _tracker_failed,
}
