# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues behind pointers: seeded, found and fetched by two nodes' parts of it, without the rest of the nodes."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import trio
from loopback import LOOPBACK, content, foreign_seeder, infohash_of, make_info
from waiting import WAIT_S

from gtfs.catalogue.refchunks import BadCatalogue, ChunksMissing, missing_chunks, read_tree
from gtfs.catalogue.reftree import plant
from gtfs.feed import DhtFeed, parse_feed
from gtfs.ids import SHA1, InfoHash, ObjectId
from gtfs.layout import Layout
from gtfs.node.chunks import ChunkFetcher, ChunksInMemory
from gtfs.node.dhtfeed import BadPointer, PointerKeeper, first_document
from gtfs.state.feedkey import address, make_feed_key
from gtfs.swarm.feeds import FeedAnswer, FeedError, Validators
from gtfs.swarm.httpget import open_client
from gtfs.swarm.pointers import sign_pointer
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

AT_HOME = dataclasses.replace(LOOPBACK, dht=True, dht_nodes=(("127.0.0.1", 9),))


def state(directory, document=None, version=1, key=None, top=None, tree=None):
    """As much of a node's state as counts here; a publisher's if there is a key."""
    (directory / "keys").mkdir(parents=True, exist_ok=True)
    held = None
    if document is not None:
        catalogue = SimpleNamespace(
            version=version,
            feed_key=key.public.hex() if key else None,
            repository="demo",
            trackers=(),
            top=top,
            tree=tree,
        )
        held = SimpleNamespace(document=document, catalogue=catalogue)
    config = SimpleNamespace(sign_key=lambda: "F" * 40 if key else None)
    return SimpleNamespace(layout=Layout(directory), held=held, config=config)


def mirror_options(publisher):
    where = (("127.0.0.1", publisher.port),)
    return dataclasses.replace(LOOPBACK, dht=True, dht_nodes=where, peers=where)


@pytest.fixture
def key(tmp_path):
    return make_feed_key(Layout(tmp_path / "publisher").feed_key)


def dht_feed(text: str) -> DhtFeed:
    feed = parse_feed(text)
    assert isinstance(feed, DhtFeed)
    return feed


@pytest.fixture
def feed(key):
    return dht_feed(address(key.public, "demo"))


async def announced(pointing):
    with trio.fail_after(WAIT_S):
        while not pointing.status()["nodes"]:  # noqa: ASYNC110  (no event to wait for)
            await trio.sleep(0.05)


async def test_a_catalogue_comes_by_its_address_and_leaves_no_torrent_behind(key, feed, tmp_path):
    document = content(200_000)
    async with open_session(AT_HOME) as publisher, trio.open_nursery() as nursery:
        pointing = PointerKeeper(state(tmp_path / "publisher", document, 3, key), publisher)
        nursery.start_soon(pointing.announce_task)
        await announced(pointing)
        assert pointing.status()["key"] == key.public.hex()
        assert pointing.status()["version"] == 3
        async with open_session(mirror_options(publisher)) as session:
            mirror = PointerKeeper(state(tmp_path / "mirror"), session)
            answer = await mirror.follow(feed, Validators())
            assert answer.document == document
            assert (await mirror.follow(feed, answer.validators)).document is None
            unnamed = await mirror.follow(dht_feed(f"gtfs:{key.public.hex()}"), Validators())
            assert unnamed.document == document
            assert await first_document(feed, session) == document
            assert not session.torrents()
            assert list((tmp_path / "mirror").rglob("catalogue.asc")) == []
        nursery.cancel_scope.cancel()


async def test_chunks_that_a_catalogue_names_come_from_who_seeds_it_and_later_only_those_that_lack(key, tmp_path):
    refs = {b"refs/heads/%06d" % n: ObjectId(bytes([n % 250 + 1]) * 20) for n in range(9000)}
    tree = plant(refs)
    after = plant({**refs, b"refs/heads/000000": ObjectId(b"x" * 20)}, tree)
    chunks, here = ChunksInMemory(), tmp_path / "mirror" / "chunks"
    for version, each in enumerate((tree, after), 1):
        top = each.to_top(with_torrent=True)
        wanted = ChunksMissing(top.top, top)
        async with open_session(AT_HOME) as publisher, trio.open_nursery() as nursery:
            pointing = PointerKeeper(state(tmp_path / "publisher", content(900), version, key, top, each), publisher)
            nursery.start_soon(pointing.announce_task)
            await announced(pointing)
            assert {top.infohash} < {torrent.spec.infohash for torrent in publisher.torrents()}
            async with open_session(mirror_options(publisher)) as session:
                async with open_client() as client:
                    await ChunkFetcher(chunks, client, session, here).bring(wanted, [])
                assert not session.torrents() and not here.exists()
            assert missing_chunks(top, chunks.get) == []
            assert read_tree(top, chunks.get, SHA1) == each
            seeded = next(torrent for torrent in publisher.torrents() if torrent.spec.infohash == top.infohash)
            sent = (await seeded.refresh()).uploaded_bytes
            # All of them first, and then the pieces under three chunks, of 64 KiB each.
            assert sent >= top.size if version == 1 else sent <= 4 * (64 << 10) < top.size
            nursery.cancel_scope.cancel()


async def test_a_torrent_of_chunks_that_gives_other_bytes_than_the_text_says_gives_nothing(tmp_path):
    tree = plant({b"refs/heads/a": ObjectId(b"a" * 20)})
    data = b"".join(tree.bytes_in_order()).replace(b"heads", b"tails")
    info = make_info("catalogue.chunks", data)
    top = dataclasses.replace(tree.to_top(with_torrent=True), infohash=infohash_of(info))
    with foreign_seeder(tmp_path / "seeder", info, data, "catalogue.chunks") as port:
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),))) as session:
            chunks = ChunksInMemory()
            async with open_client() as client:
                fetcher = ChunkFetcher(chunks, client, session, tmp_path / "mirror")
                with pytest.raises(BadCatalogue, match="other bytes"):
                    await fetcher.bring(ChunksMissing(top.top, top), [])
            assert not session.torrents() and missing_chunks(top, chunks.get) == list(top.top)


async def test_an_older_pointer_changes_nothing(key, feed, tmp_path):
    async with open_session(AT_HOME) as publisher, open_session(mirror_options(publisher)) as session:
        await publisher.dht.put_pointer(sign_pointer(key, b"demo", 4, InfoHash(b"4" * 20)))
        mirror = PointerKeeper(state(tmp_path / "mirror", b"the held one", version=5), session)
        known = Validators(pointer=(5, b"5" * 20))
        assert await mirror.follow(feed, known) == FeedAnswer(None, known)


@pytest.mark.parametrize(
    ("name", "size", "more"),
    [
        ("../../etc/passwd", 1000, {}),
        ("catalogue.txt", 1000, {}),
        ("catalogue.asc", (16 << 20) + 1, {}),
        ("catalogue.asc", 1000, {"piece_length": 16 << 10}),
        ("catalogue.asc", 1000, {"source": b"x"}),
    ],
    ids=str,
)
async def test_a_pointer_to_another_torrent_is_refused(key, feed, tmp_path, name, size, more):
    data = bytes(size)
    info = make_info(name, data, **more)
    with foreign_seeder(tmp_path / "seeder", info, data, name.replace("/", "_").replace("..", "_")) as port:
        options = dataclasses.replace(AT_HOME, peers=(("127.0.0.1", port),))
        async with open_session(options) as session:
            await session.dht.put_pointer(sign_pointer(key, b"demo", 1, infohash_of(info)))
            mirror = PointerKeeper(state(tmp_path / "mirror"), session)
            with pytest.raises(BadPointer) as caught:
                await mirror.follow(feed, Validators())
            assert caught.value.exit_code == 4
            assert not session.torrents()
    assert [path.name for path in (tmp_path / "mirror").rglob("*")] == ["keys"]


async def test_who_has_no_dht_says_so(feed, tmp_path):
    async with open_session(LOOPBACK) as session:
        with pytest.raises(FeedError, match="switched off"):
            await PointerKeeper(state(tmp_path / "m"), session).follow(feed, Validators())
    with pytest.raises(FeedError, match="offline"):
        await PointerKeeper(state(tmp_path / "m"), None).follow(feed, Validators())
    async with open_session(AT_HOME) as session:
        with pytest.raises(FeedError, match="no DHT node answers"):
            await PointerKeeper(state(tmp_path / "m"), session).follow(feed, Validators())
