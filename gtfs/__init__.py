# SPDX-License-Identifier: GPL-3.0-or-later
"""The git torrent filesystem: signed git history as files, carried by BitTorrent. This is the map of the house.

History goes one way out and one way in; the folders are its stations, and each folder's docstring says its nouns.

    out:   repo -> pack -> reel -> catalogue -> swarm                         (publish)
    in:    swarm -> reel -> ingest (verify, sign off, unpack) -> repo -> refs
    eyes:  mount/tree -> mount                      (reads any of them, waits only in the swarm)

    errors.py     GtfsError, and the exit codes
    ids.py        ObjectId, PackDigest, InfoHash, ReelName, Fingerprint
    version.py    which gtfs this is
    feed.py       a feed as it is written: path, URL, gtfs:KEY
    nearness.py   how near to this machine an address or a host is
    events.py     what a node's log says by default, a line each
    counted.py    numbers of things, as people say them
    backoff.py    how long what failed rests before it is tried again
    bencode.py    bencoding, canonical both ways
    metainfo.py   .torrent files: piece length, pieces, infohash, and the check of one that came
    layout.py     every path of a repository's state directory
    durable.py    files that are whole or absent after a power cut
    pack/         commit packs: objects, deltas, deflate, encoding, scanning, decoding     [dulwich]
    repo/         the backing repository: objects, history, refs, unpacking                [git]
    reel/         open reel, sealing, table, index, recovery                     [sqlite3]
    catalogue/    the signed statement: document, acceptance, store, issuing
    trust/        keyrings, verification, signing, policies, sign-offs                     [gnupg, gpgv, debian]
    swarm/        session, alerts, torrents, lazy reads, feeds                             [libtorrent, httpx, trio]
    ingest/       scan, decode, check, policy, sign off, unpack, refs; quarantine, take-up
    mount/        tree, operations, incoming files, errnos, options, lifetime              [pyfuse3, trio]
    state/        a repository's state on disk: settings, lock, reel files, publishing, fsck     [cryptography]
    view/         what the mount is given: packs, written packs, control files                 [trio]
    overview/     how repositories fare: judgements, and the page and metrics that show them     [h11, trio]
    node/         a repository while it runs: its torrents, feeds, socket; the order of shutdown  [httpx, trio]
    collection/   a signed list of repositories, and what a mirror makes of one
    daemon/       the nodes of many repositories in one process                                [trio]
    cli/          main.py and one file for each command                                    [click, rich]
    remote/       git-remote-gtfs: a SOURCE as one of git's own remotes                        [trio]

Imports go one way: ``pack`` knows bytes and imports nothing above it, ``mount`` and ``swarm`` never import each other
and meet in the Protocols of ``mount/tree.py``, and only ``node``, ``daemon``, ``cli`` and ``remote`` see everything.
``state`` and all below it is synchronous and loads neither trio nor libtorrent. ``tests/unit/test_house.py`` holds
this; gtfs-design(7) tells more.

Pages: gtfs(1), mount.fuse.gtfs(8), gtfs-pack(5), gtfs-reel(5), gtfs-catalogue(5), gtfs-design(7).
"""
