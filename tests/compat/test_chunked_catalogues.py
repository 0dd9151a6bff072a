# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues of format 2, whose refs are in chunks: followed from files and web servers, good ones and hostile ones."""

from __future__ import annotations

import errno
import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio
from keys import shared_keys
from publishers import MAIN, Publishers, held, now_s, with_node

from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.document import Catalogue, digest, from_text, text_alone
from gtfs.catalogue.reftree import Chunk, RefTree, Top, name_chunk
from gtfs.catalogue.statementstore import DamagedStore
from gtfs.errors import Blame
from gtfs.feed import parse_feed
from gtfs.ids import SHA1, ObjectId
from gtfs.node.node import Node
from gtfs.node.opening import open_source
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state.config import BadConfig
from gtfs.state.fsck import check
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.source import Source
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.feeds import FeedReport
from gtfs.trust.verify import split_clearsigned

OLD, NEW = ObjectId(b"\x01" * 20), ObjectId(b"\x02" * 20)


@pytest.fixture(scope="module")
def people() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


class Web:
    """A directory's files on loopback: what was asked for, and what is answered otherwise."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        self.instead: dict[str, Callable[[], Iterator[bytes]]] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                file, other = root / self.path.lstrip("/"), web.instead.get(self.path.rpartition("/")[2])
                self.send_response(200 if other or file.is_file() else 404)
                self.end_headers()
                try:
                    for part in other() if other else [file.read_bytes() if file.is_file() else b""]:
                        self.wfile.write(part)
                except ConnectionError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._httpd.server_address[1]}"
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def chunks(self) -> list[str]:
        """The names of the chunks that were asked for since the last time."""
        asked, self.asked = self.asked, []
        return [path.removeprefix("/chunks/") for path in asked if path.startswith("/chunks/")]

    def close(self) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


class Publisher:
    """What a publisher has put in ``directory``: latest.asc and its chunks, version after version."""

    def __init__(self, people: Publishers, directory: Path) -> None:
        self.people = people
        self.directory = directory
        directory.mkdir()
        self.refs = {b"refs/heads/%05d" % n: OLD for n in range(3000)} | {MAIN: OLD}
        self.document = b""
        self.last: Catalogue | None = None

    def make(self, in_chunks: bool = True, **changes: object) -> tuple[Catalogue, bytes]:
        """The next catalogue, signed, and put nowhere."""
        version = 1 if self.last is None else self.last.version + 1
        before = None if self.last is None else digest(split_clearsigned(self.document)[0])
        fields = {
            "repository": "demo", "version": version, "previous": before, "date_s": now_s() - 3600 + version,
            "valid_until_s": now_s() + 86400, "signers": (self.people["plain"], self.people["other"]),
            "refs": dict(sorted(self.refs.items())),
        }  # fmt: skip
        new = Catalogue(**(fields | changes))  # type: ignore[arg-type]
        if in_chunks:
            new = new.in_chunks(None if self.last is None else self.last.tree)
        return new, self.people.sign(new.to_text().encode(), "plain")

    def put(self, new: Catalogue, document: bytes) -> None:
        """Chunks first, then the document."""
        if new.tree is not None:
            ChunkStore(self.directory / "chunks").make_durable(new.tree)
        (self.directory / "latest.asc").write_bytes(document)
        self.last, self.document = new, document

    def publish(self, in_chunks: bool = True, **moved: ObjectId) -> Catalogue:
        self.refs |= {b"refs/heads/" + name.encode(): oid for name, oid in moved.items()}
        new, document = self.make(in_chunks)
        self.put(new, document)
        return new


@pytest.fixture
def publisher(people: Publishers, tmp_path: Path) -> Publisher:
    return Publisher(people, tmp_path / "feed")


@pytest.fixture
def web(publisher: Publisher) -> Iterator[Web]:
    made = Web(publisher.directory)
    yield made
    made.close()


@pytest.fixture
def mirror(people: Publishers, publisher: Publisher, tmp_path: Path) -> Iterator[State]:
    """One that holds version 1, of format 1."""
    new, document = publisher.make(in_chunks=False)
    publisher.put(new, document)
    with people.mirror(tmp_path / "m.git", document) as state:
        yield state


def poll(state: State, *feeds: Path | str) -> list[FeedReport]:
    """What feeds say when they are asked once."""
    reports: list[FeedReport] = []

    async def look(node: Node) -> None:
        reports.extend(node.poller.reports())

    with_node(state, list(feeds), look)  # type: ignore[arg-type]
    return reports


def here(state: State) -> set[str]:
    return state.catalogues.chunks.digests()


def names(catalogue: Catalogue) -> set[str]:
    assert catalogue.tree is not None
    return set(catalogue.tree.data)


def test_a_mirror_follows_from_format_1_to_2_and_back(mirror: State, publisher: Publisher) -> None:
    for in_chunks in (True, True, False, True):
        new = publisher.publish(in_chunks, main=ObjectId(bytes([publisher.last.version + 5]) * 20))  # type: ignore[union-attr]
        (report,) = poll(mirror, publisher.directory)
        assert report.error is None and held(mirror).catalogue == new
        assert held(mirror).catalogue.refs == publisher.refs and (new.top is not None) == in_chunks
        assert mirror.catalogues.load(new.version).catalogue.refs == publisher.refs


def test_of_the_next_version_only_what_changed_is_asked_for(mirror: State, publisher: Publisher, web: Web) -> None:
    first = publisher.publish()
    assert poll(mirror, web.url + "/latest.asc")[0].error is None
    assert sorted(web.chunks()) == sorted(names(first))
    second = publisher.publish(main=NEW)
    assert poll(mirror, web.url + "/latest.asc")[0].error is None
    assert set(web.chunks()) == names(second) - names(first) and len(names(second) - names(first)) == 2
    assert held(mirror).catalogue.refs[MAIN] == NEW
    assert poll(mirror, web.url + "/latest.asc")[0].error is None and web.chunks() == []


def test_a_new_mirror_and_a_directory_of_a_copied_state_work_alike(
    people: Publishers, publisher: Publisher, web: Web, tmp_path: Path
) -> None:
    new = publisher.publish()
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(people.ring())

    async def make(feed: str, path: Path) -> None:
        given = TrustGiven([ring], signers=(people["plain"],))
        source = Source(feed, path, parse_feed(feed))
        async with open_source(source, given, NodeOptions(offline=True)) as node:
            assert held(node.state).catalogue == new and here(node.state) == names(new)

    trio.run(make, web.url + "/latest.asc", tmp_path / "one.git")
    trio.run(make, str(publisher.directory / "latest.asc"), tmp_path / "two.git")
    trio.run(make, str(tmp_path / "two.git" / "gtfs" / "catalogue"), tmp_path / "three.git")
    gone = next(iter(names(new)))
    (publisher.directory / "chunks" / gone).unlink()
    with pytest.raises(Exception, match=gone):
        trio.run(make, web.url + "/latest.asc", tmp_path / "four.git")
    assert not (tmp_path / "four.git").exists()


@pytest.mark.warns
def test_a_missing_chunk_is_its_feeds_failure_and_nothing_is_half_applied(
    mirror: State, publisher: Publisher, web: Web
) -> None:
    before = held(mirror)
    new = publisher.publish()
    gone = publisher.directory / "chunks" / sorted(names(new))[7]
    data = gone.read_bytes()
    gone.unlink()
    for feed in (web.url + "/latest.asc", publisher.directory):
        (report,) = poll(mirror, feed)
        assert report.error is not None and gone.name in report.error and report.fault is Blame.NETWORK
        assert held(mirror) is before and mirror.catalogues.versions() == [1]
    gone.write_bytes(data)
    assert poll(mirror, publisher.directory)[0].error is None and held(mirror).catalogue == new


def test_a_mirror_that_was_killed_between_chunks_asks_for_the_others_only(
    mirror: State, publisher: Publisher, web: Web
) -> None:
    new = publisher.publish()
    assert new.top is not None
    came = sorted(names(new))[:20] + [chunk.digest for chunk in new.top.top]
    for chunk in (c for c in new.tree.in_order() if c.digest in came):  # type: ignore[union-attr]
        mirror.catalogues.chunks.put(chunk, new.tree.data[chunk.digest])  # type: ignore[union-attr]
    (mirror.layout.chunks / ".writing-0123").write_bytes(b"torn")
    repository = mirror.repository
    mirror.__exit__(None, None, None)
    with State(repository) as again:
        assert not (mirror.layout.chunks / ".writing-0123").exists()
        assert poll(again, web.url + "/latest.asc")[0].error is None
        assert held(again).catalogue == new and set(web.chunks()) == names(new) - set(came)


@pytest.mark.parametrize("how", ["other bytes", "shorter", "longer", "endless", "a page"])
@pytest.mark.warns
def test_a_web_server_that_gives_something_else_as_a_chunk_is_not_believed(
    how: str, mirror: State, publisher: Publisher, web: Web
) -> None:
    before, new = held(mirror), publisher.publish()
    assert new.tree is not None
    chunk = new.tree.leaves[3].chunk
    data = new.tree.data[chunk.digest]
    other = {"other bytes": b"f" + data[1:], "shorter": data[:-1], "longer": data + b"\n", "a page": b"<p>404</p>"}
    endless = how == "endless"
    web.instead[chunk.digest] = lambda: itertools.repeat(data) if endless else iter([other[how]])
    (report,) = poll(mirror, web.url + "/latest.asc")
    assert report.error is not None and chunk.digest in report.error
    assert held(mirror) is before and chunk.digest not in here(mirror)
    web.instead.clear()
    assert poll(mirror, web.url + "/latest.asc")[0].error is None and held(mirror).catalogue == new


def test_a_link_or_a_pipe_in_the_place_of_a_kept_chunk_is_not_read(
    mirror: State, publisher: Publisher, tmp_path: Path
) -> None:
    new = publisher.publish()
    assert new.tree is not None
    chunk = new.tree.leaves[0].chunk
    mirror.layout.chunks.mkdir()
    (tmp_path / "secret").write_bytes(new.tree.data[chunk.digest])
    (mirror.layout.chunks / chunk.digest).symlink_to(tmp_path / "secret")
    assert mirror.catalogues.chunks.get(chunk) is None
    assert poll(mirror, publisher.directory)[0].error is None
    assert not (mirror.layout.chunks / chunk.digest).is_symlink()


@pytest.mark.warns
def test_nothing_is_asked_for_that_nobody_who_may_has_signed(mirror: State, publisher: Publisher, web: Web) -> None:
    new, _ = publisher.make()
    for document in (
        publisher.people.sign(new.to_text().encode(), "stranger"),
        publisher.people.sign(replace(new, date_s=now_s() + 9999).to_text().encode(), "plain"),
        publisher.people.sign(replace(new, repository="another").to_text().encode(), "plain"),
        publisher.people.sign(replace(new, previous="00" * 32).to_text().encode(), "plain"),
    ):
        (publisher.directory / "latest.asc").write_bytes(document)
        (report,) = poll(mirror, web.url + "/latest.asc")
        assert report.error is not None and report.fault is Blame.TRUST
        assert web.chunks() == [] and here(mirror) == set()


def lying(tree: RefTree, top: Top) -> Iterator[tuple[str, Top, dict[str, bytes]]]:
    """Trees that their signer should not have signed, and what is said of them."""
    first, *more = tree.leaves

    def one(data: bytes) -> tuple[Top, dict[str, bytes]]:
        chunk = name_chunk(data)
        return Top(0, data.count(b"\n"), 1, len(data), (chunk,)), {chunk.digest: data}

    line = OLD.hex().encode() + b" refs/heads/"
    yield "not in order", *one(line + b"b\n" + line + b"a\n")
    yield "git does not allow", *one(line + b"../../hooks/post-receive\n")
    yield "not spelled", *one(line + b"a\x1b[2Jb\n")
    yield "exclude each other", *one(line + b"a\n" + line + b"a/b\n")
    twice = replace(top, levels=0, chunks=2, size=2 * first.chunk.size, top=(first.chunk,) * 2)
    yield "named twice", twice, dict(tree.data)
    back = replace(twice, size=first.chunk.size + more[0].chunk.size, top=(more[0].chunk, first.chunk))
    yield "not in order", back, dict(tree.data)
    yield "more than the", replace(top, chunks=top.chunks - 1), dict(tree.data)
    yield "more than the", replace(top, size=top.size - 1), dict(tree.data)
    yield "not as many", replace(top, chunks=top.chunks + 1), dict(tree.data)
    yield "not as many", replace(top, refs=top.refs + 1), dict(tree.data)
    yield "is not SHA256 SIZE", replace(top, levels=2), dict(tree.data)


@pytest.mark.warns
def test_chunks_that_their_signer_should_not_have_signed_are_refused_and_not_kept(
    mirror: State, publisher: Publisher
) -> None:
    good, _ = publisher.make()
    assert good.tree is not None and good.top is not None
    before = held(mirror)
    for says, top, data in lying(good.tree, good.top):
        document = publisher.people.sign(replace(good, top=top).to_text().encode(), "plain")
        store = ChunkStore(publisher.directory / "chunks")
        store.directory.mkdir(exist_ok=True)
        for name, bytes_ in data.items():
            store.put(Chunk(name, len(bytes_)), bytes_)
        (publisher.directory / "latest.asc").write_bytes(document)
        (report,) = poll(mirror, publisher.directory)
        assert report.error is not None and says in report.error and report.fault is Blame.TRUST, report
        assert held(mirror) is before and here(mirror) == set()


@pytest.mark.warns
def test_two_texts_of_one_version_are_an_equivocation_with_the_same_chunks_and_with_others(
    mirror: State, publisher: Publisher, web: Web
) -> None:
    new = publisher.publish()
    assert poll(mirror, web.url + "/latest.asc")[0].error is None
    web.chunks()
    same_chunks = replace(new, date_s=new.date_s + 1)
    publisher.refs[MAIN] = NEW
    others = replace(new, refs=dict(sorted(publisher.refs.items())), top=None, tree=None).in_chunks(None)
    for number, other in enumerate((same_chunks, others), 1):
        document = publisher.people.sign(other.to_text().encode(), "plain")
        (publisher.directory / "latest.asc").write_bytes(document)
        (report,) = poll(mirror, web.url + "/latest.asc")
        assert report.error is not None and "two different catalogues" in report.error
        assert len(mirror.catalogues.equivocations()[new.version]) == number
        assert held(mirror).catalogue == new and mirror.catalogues.is_disputed(held(mirror)) and web.chunks() == []


@pytest.mark.warns
def test_the_same_text_with_other_chunks_beside_it_is_no_catalogue(mirror: State, publisher: Publisher) -> None:
    new = publisher.publish()
    publisher.refs[MAIN] = NEW
    others, _ = publisher.make()
    assert others.tree is not None
    (*_, data) = (others.tree.data[name] for name in names(others) - names(new))
    for chunk in (publisher.directory / "chunks").iterdir():
        chunk.write_bytes(data)
    (report,) = poll(mirror, publisher.directory)
    assert report.error is not None and held(mirror).catalogue.version < new.version and here(mirror) == set()


@pytest.mark.warns
def test_a_disk_that_is_full_before_the_last_chunk_leaves_what_was_held(
    mirror: State, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, new = held(mirror), publisher.publish()
    put, left = ChunkStore.put, [5]

    def fill(store: ChunkStore, chunk: Chunk, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(store, chunk, data)

    with monkeypatch.context() as patch:
        patch.setattr(ChunkStore, "put", fill)
        (report,) = poll(mirror, publisher.directory)
    assert report.error is not None and "No space left" in report.error and report.fault is Blame.SYSTEM
    assert held(mirror) is before and len(here(mirror)) == 5
    assert poll(mirror, publisher.directory)[0].error is None and held(mirror).catalogue == new


def test_a_held_catalogue_whose_chunk_is_gone_or_damaged_never_gives_way_to_an_older_one(
    mirror: State, publisher: Publisher
) -> None:
    new = publisher.publish()
    assert poll(mirror, publisher.directory)[0].error is None
    chunk = mirror.layout.chunks / sorted(names(new))[3]
    data = chunk.read_bytes()
    repository = mirror.repository
    mirror.__exit__(None, None, None)
    for spoilt in (b"", data[:-1], data[:-2] + b"z\n", None):
        chunk.unlink() if spoilt is None else chunk.write_bytes(spoilt)
        with pytest.raises(DamagedStore, match=chunk.name):
            State(repository)
    chunk.write_bytes(data)
    with State(repository) as again:
        assert held(again).catalogue == new


def test_chunks_that_no_kept_catalogue_names_go_and_those_of_kept_ones_stay(
    mirror: State, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtfs.catalogue.statementstore.KEPT", 3)
    for n in range(20):
        new = publisher.publish(main=ObjectId(bytes([n + 1]) * 20))
        assert poll(mirror, publisher.directory)[0].error is None
    assert new.version == 21
    mirror.catalogues.drop_unnamed_chunks()
    kept: set[str] = set()
    for version in mirror.catalogues.versions()[1:]:  # the first of the day has none
        kept |= names(mirror.catalogues.load(version).catalogue)
    assert mirror.catalogues.versions() == [1, 19, 20, 21] and here(mirror) == kept


def test_what_is_set_aside_by_a_rewind_keeps_its_chunks(mirror: State, publisher: Publisher) -> None:
    for oid in (OLD, NEW):
        new = publisher.publish(main=oid)
        assert poll(mirror, publisher.directory)[0].error is None
    mirror.catalogues.go_back(2)
    mirror.catalogues.drop_unnamed_chunks()
    text, _ = split_clearsigned(mirror.catalogues.set_aside()[0].read_bytes())
    assert from_text(text, mirror.catalogues.chunks.get) == new


@pytest.mark.warns
def test_a_program_that_knows_format_1_only_refuses_format_2_and_says_so(
    mirror: State, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish()
    monkeypatch.setattr("gtfs.catalogue.document.FORMAT_IN_CHUNKS", "gtfs-catalogue-x")
    (report,) = poll(mirror, publisher.directory)
    assert report.error is not None and "'gtfs-catalogue-2'; a newer gtfs may know it" in report.error


@pytest.mark.warns
def test_a_catalogue_of_another_signer_in_a_race_needs_no_chunks_to_be_kept(
    mirror: State, publisher: Publisher
) -> None:
    first = publisher.publish()
    assert poll(mirror, publisher.directory)[0].error is None
    publisher.refs[MAIN] = NEW
    other = replace(first, refs=dict(sorted(publisher.refs.items())), top=None, tree=None).in_chunks(None)
    document = publisher.people.sign(other.to_text().encode(), "other")
    (publisher.directory / "latest.asc").write_bytes(document)
    assert poll(mirror, publisher.directory)[0].error is None
    assert [race.version for race in mirror.races] == [first.version]
    both = replace(
        other, version=first.version + 1, previous=held(mirror).digest, date_s=other.date_s + 9,
        raced=(mirror.races[0].digest,),
    )  # fmt: skip
    publisher.put(both, publisher.people.sign(both.to_text().encode(), "other"))
    assert poll(mirror, publisher.directory)[0].error is None and held(mirror).catalogue == both
    assert mirror.races == [] and text_alone(both.to_text().encode()).follows == both.follows


def test_a_publisher_writes_format_2_where_it_has_many_refs_or_is_told_to(tmp_path: Path) -> None:
    keys = shared_keys()
    path = tmp_path / "p.git"
    repository = create_repository(path, SHA1)
    text = b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 2\nm\n\n"
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input=text, check=True)
    tip = repository.git("rev-parse", "main").strip()

    def publish(refs: int, which: str = "auto") -> Catalogue:
        orders = b"".join(b"update refs/heads/many/%05d %s\n" % (n, tip) for n in range(refs))
        repository.git("update-ref", "--stdin", stdin=orders)
        with State(open_repository(path)) as state:
            initialise(state, "pub", keys.fingerprints["alice"], str(keys.home))
            state.config.set("catalogueformat", which)
            assert publish_now(state).is_new
            assert list(check(state, lambda _d, _t: None)) == []
        with State(open_repository(path)) as state:
            assert state.index.refs.held() == held(state).catalogue.refs
            return held(state).catalogue

    few = publish(0)
    assert few.top is None and few.to_text().startswith("Format: gtfs-catalogue-1\n")
    assert publish(2, "2").top is not None
    assert publish(3, "auto").top is None
    many = publish(1500)
    assert many.top is not None and len(many.refs) == 1501
    assert many.tree is not None and set(many.tree.data) <= {
        path.name for path in (path / "gtfs" / "catalogue" / "chunks").iterdir()
    }
    assert publish(1501, "1").top is None
    with State(open_repository(path)) as state:
        state.config.set("catalogueformat", "3")
        with pytest.raises(BadConfig, match=r"gtfs.catalogueformat is 3, not one of auto, 1, 2"):
            publish_now(state, force=True)


def test_chunks_of_a_catalogue_that_is_copied_into_a_mount_come_from_any_feed(
    mirror: State, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    before = publisher.document
    new = publisher.publish()
    document = publisher.document
    (publisher.directory / "latest.asc").write_bytes(before)

    async def copy(node: Node) -> None:
        await node.control_files.take((b"c.asc",), document)

    with_node(mirror, [tmp_path / "empty" / "latest.asc", publisher.directory], copy)
    assert held(mirror).catalogue == new


def test_a_mount_shows_the_chunks_beside_the_catalogue_so_that_it_can_be_a_feed(
    mirror: State, publisher: Publisher
) -> None:
    new = publisher.publish()

    async def look(node: Node) -> None:
        files = node.control_files
        assert {b"catalogue", b"chunks"} <= set(files.names(()))
        assert {name.decode() for name in files.names((b"chunks",))} == names(new)
        for name in names(new):
            entry = files.look((b"chunks", name.encode()))
            assert entry is not None and entry.read is not None and new.tree is not None
            assert await entry.read() == new.tree.data[name] and entry.size == len(new.tree.data[name])
        assert files.look((b"chunks", b"0" * 64)) is None and files.look((b"chunks", b"..")) is None

    with_node(mirror, [publisher.directory], look)
