# SPDX-License-Identifier: GPL-3.0-or-later
"""A torrent client on our own libtorrent, as a program: ``torrent_peer.py TORRENT DIRECTORY ADDRESS:PORT [PEER-PORT]``.

It says ``whole`` once it has everything, and trades on until it is ended. Everything on 127.0.0.1, without DHT, LSD,
PEX, UPnP and uTP. With a peer's port it connects to that peer again and again.
"""

from __future__ import annotations

import signal
import sys
import time

import libtorrent as lt


def main(torrent: str, directory: str, address: str, peer: str = "") -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    session = lt.session(
        {
            "listen_interfaces": address,
            "outgoing_interfaces": address.partition(":")[0],
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
            "min_reconnect_time": 1,
            "max_failcount": 100000,
            "alert_mask": 0,
        }
    )
    params = lt.load_torrent_file(torrent)
    params.save_path = directory
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    params.flags |= lt.torrent_flags.disable_pex
    handle = session.add_torrent(params)
    was_whole = False
    while True:
        status = handle.status()
        if status.errc.value():
            print(status.errc.message(), file=sys.stderr, flush=True)
            handle.clear_error()
        if status.is_seeding and not was_whole:
            was_whole = True
            print("whole", flush=True)
        if peer and status.num_peers == 0:
            handle.connect_peer(("127.0.0.1", int(peer)))
        time.sleep(0.1)


main(*sys.argv[1:])
