# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publisher publishes of an awkward repository, and what it says of the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from keys import shared_keys

from gtfs.ids import ObjectId
from gtfs.node import publishing
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.node.publishing import Publishing
from gtfs.pack.account import Needs
from gtfs.pack.limits import MIB, Limits
from gtfs.repo import encoding, reach
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import Ref
from gtfs.repo.repository import GitFailed, open_repository
from gtfs.state.config import BadConfig
from gtfs.state.due import published_refs
from gtfs.state.foretell import foretell
from gtfs.state.fsck import check
from gtfs.state.initialise import initialise
from gtfs.state.publish import Published, publish_now
from gtfs.state.selection import parse_pattern
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable, check_fits
from gtfs.view import packs
from gtfs.view.news import News

WHO = "A U Thor <author@example.org> 1700000000 +0000"


class Origin:
    """A bare repository made object by object."""

    def __init__(self, path: Path, fmt: str = "sha1") -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", f"--object-format={fmt}", str(path)], check=True)

    def git(self, *words: str, data: bytes = b"") -> str:
        done = subprocess.run(["git", "--git-dir", self.path, *words], input=data, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def put(self, kind: str, data: bytes) -> str:
        return self.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", data=data)

    def commit(self, files: dict[str, bytes], *parents: str) -> str:
        entries = [f"100644 blob {self.put('blob', data)}\t{name}\n" for name, data in files.items()]
        tree = self.git("mktree", data="".join(entries).encode())
        lines = [f"tree {tree}", *(f"parent {p}" for p in parents), f"author {WHO}", f"committer {WHO}", "", "m\n"]
        return self.put("commit", "\n".join(lines).encode())

    def ref(self, name: str, oid: str) -> None:
        self.git("update-ref", name, oid)

    def loose(self, oid: str) -> Path:
        return self.path / "objects" / oid[:2] / oid[2:]

    def publish(self, limits: Limits | None = None, **config: str) -> tuple[Published, dict[bytes, ObjectId], Needs]:
        """Publish as it is; with the refs and needs of the catalogue."""
        keys = shared_keys()
        with State(open_repository(self.path)) as state:
            initialise(state, "pub", keys.fingerprints["alice"], str(keys.home))
            for key, value in config.items():
                state.config.set(key, value)
        with State(open_repository(self.path), limits) as state:
            done = publish_now(state)
            wrong = list(check(state, lambda _d, _t: None))
            said = ("which is missing", "git has lost", "git cannot read the history", "there is no pack of its parent")
            assert all(any(words in line for words in said) for line in wrong), wrong
            assert state.held is not None
            return done, state.held.catalogue.refs, state.held.catalogue.needs

    def listed(self, **config: str) -> list[str]:
        return [name.decode() for name in self.publish(**config)[1]]


@pytest.fixture(params=["sha1", "sha256"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Origin:
    made = Origin(tmp_path / "origin.git", request.param)
    made.ref("refs/heads/main", made.commit({"a": b"a\n"}))
    return made


class NoSwarm:
    """Reads of a node without one."""

    is_cache = False

    def reel(self, reel_id: int) -> None:
        return None

    async def read(self, reel: object, offset: int, length: int, read_ahead: int) -> bytes:
        raise AssertionError("there is no swarm")


def lose_blob(origin: Origin, parent: str) -> tuple[str, str]:
    """A commit that lacks a blob, and what the reason must say."""
    bad = origin.commit({"a": b"a\n", "b": b"lost\n"}, parent)
    blob = origin.git("rev-parse", f"{bad}:b")
    origin.loose(blob).unlink()
    return bad, blob


def lose_parent(origin: Origin, parent: str) -> tuple[str, str]:
    lost = origin.commit({"a": b"b\n"}, parent)
    bad = origin.commit({"a": b"c\n"}, lost)
    origin.loose(lost).unlink()
    return bad, lost


def damage_tree(origin: Origin, parent: str) -> tuple[str, str]:
    bad = origin.commit({"d": b"d\n"}, parent)
    tree = origin.git("rev-parse", f"{bad}^{{tree}}")
    file = origin.loose(tree)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:10])
    return bad, tree


def lose_tip(origin: Origin, parent: str) -> tuple[str, str]:
    """Refs point to what is not there: git says no word while nobody reads it."""
    bad = origin.commit({"a": b"d\n"}, parent)
    origin.ref("refs/heads/main", bad)
    origin.loose(bad).unlink()
    return bad, bad


@pytest.mark.warns
@pytest.mark.parametrize("harm", [lose_blob, lose_parent, damage_tree, lose_tip])
def test_a_commit_that_cannot_be_made_keeps_only_the_refs_back_that_reach_it(
    origin: Origin, harm: Callable[[Origin, str], tuple[str, str]]
) -> None:
    first = origin.git("rev-parse", "refs/heads/main")
    origin.publish()
    bad, word = harm(origin, first)
    (origin.path / "refs" / "heads" / "main").write_text(bad + "\n")
    tree = origin.git("rev-parse", f"{first}^{{tree}}")
    later = f"tree {tree}\nparent {bad}\nauthor {WHO}\ncommitter {WHO}\n\nlater\n"
    origin.ref("refs/heads/on-top", origin.put("commit", later.encode()))
    good = origin.commit({"a": b"good\n"}, first)
    origin.ref("refs/heads/good", good)

    done, refs, _ = origin.publish()
    assert set(done.held_back) == {b"refs/heads/main", b"refs/heads/on-top"}
    assert all(word in reason and "git fsck" in reason for reason in done.held_back.values())
    assert {name: oid.hex() for name, oid in refs.items()} == {b"refs/heads/good": good, b"refs/heads/main": first}

    origin.ref("refs/heads/main", good)
    origin.git("update-ref", "-d", "refs/heads/on-top")
    done, refs, _ = origin.publish()
    assert done.held_back == {} and {oid.hex() for oid in refs.values()} == {good}
    with State(open_repository(origin.path)) as state:
        assert state.index.unencodable.all() == {}


def kill_cat_file(monkeypatch: pytest.MonkeyPatch, module: object) -> list[int]:
    """Each one that this module starts is killed before it answers, until what is given is empty."""
    left = [1]

    class Killed(CatFile):
        def _write(self, oids: Sequence[ObjectId]) -> None:
            if left and self._process is None:
                super()._write(())
                assert self._process is not None
                self._process.kill()
                self._process.wait()
            super()._write(oids)

    monkeypatch.setattr(module, "CatFile", Killed)
    return left


def test_a_git_that_is_killed_says_nothing_of_the_commit_that_it_read(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = origin.git("rev-parse", "refs/heads/main")
    left = kill_cat_file(monkeypatch, encoding)
    with pytest.raises(GitFailed, match="SIGKILL"):
        origin.publish()
    with State(open_repository(origin.path)) as state:
        assert state.index.unencodable.all() == {}
    left.clear()
    done, refs, _ = origin.publish()
    assert done.held_back == {} and {oid.hex() for oid in refs.values()} == {head}


@pytest.mark.warns
def test_a_git_that_is_killed_blames_no_ref_for_what_another_one_reaches(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.git("rev-parse", "refs/heads/main")
    bad, _ = lose_blob(origin, first)
    origin.ref("refs/heads/bad", bad)
    left = kill_cat_file(monkeypatch, reach)
    with pytest.raises(GitFailed, match="SIGKILL"):
        origin.publish()
    left.clear()
    done, refs, _ = origin.publish()
    assert set(done.held_back) == {b"refs/heads/bad"} and list(refs) == [b"refs/heads/main"]


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "is empty"


def zeros(path: Path) -> str:
    path.write_bytes(bytes(41))
    return "is empty"


def rubbish(path: Path) -> str:
    path.write_bytes(b"rubbish\n")
    return "holds no object id"


def unreadable(path: Path) -> str:
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(path.parent.name)
    return "cannot be read"


@pytest.mark.parametrize("harm", [empty, zeros, rubbish, unreadable])
def test_a_ref_that_git_cannot_read_is_not_published_as_a_deletion(origin: Origin, harm: Callable[[Path], str]) -> None:
    first = origin.git("rev-parse", "main")
    for name in ("topic/a", "gone", "led"):
        origin.ref(f"refs/heads/{name}", first)
    origin.git("symbolic-ref", "refs/heads/symbolic", "refs/heads/led")
    origin.publish()
    origin.git("update-ref", "-d", "refs/heads/gone")
    origin.git("update-ref", "-d", "refs/heads/led")
    file = origin.path / "refs" / "heads" / "topic" / "a"
    words = harm(file)
    done, refs, _ = origin.publish()
    assert list(done.held_back) == [b"refs/heads/topic/a"]
    assert words in done.held_back[b"refs/heads/topic/a"] and first in done.held_back[b"refs/heads/topic/a"]
    assert list(refs) == [b"refs/heads/main", b"refs/heads/topic/a"], "what was deleted has gone"
    with State(open_repository(origin.path)) as state:
        assert foretell(state)["refs"] == []
        stand = published_refs(state)

    (file.parent if file.parent.is_symlink() else file).unlink(missing_ok=True)
    with State(open_repository(origin.path)) as state:
        assert published_refs(state) != stand, "a node sees that it has been taken away"
    assert origin.listed() == ["refs/heads/main"]


def test_an_emptied_file_of_all_refs_is_not_published_as_a_deletion(origin: Origin) -> None:
    origin.git("pack-refs", "--all")
    origin.publish()
    packed = origin.path / "packed-refs"
    packed.write_bytes(b"")
    with pytest.raises(Unpublishable, match=f"no ref in {packed}"):
        origin.publish()
    origin.ref("refs/heads/other", origin.commit({"b": b"b\n"}))
    done, refs, _ = origin.publish()
    assert list(done.held_back) == [b"refs/heads/main"]
    assert list(refs) == [b"refs/heads/main", b"refs/heads/other"]


def test_what_was_made_for_a_branch_that_is_gone_is_not_in_the_first_publish(origin: Origin) -> None:
    kept = origin.commit({"a": b"1\n"})
    origin.ref("refs/heads/main", kept)
    origin.ref("refs/heads/side", origin.commit({"a": b"2\n"}, kept))
    with State(open_repository(origin.path)) as state:
        assert state.take_up().packs == 2
    origin.git("update-ref", "-d", "refs/heads/side")
    done, refs, _ = origin.publish()
    assert (done.packs, done.new_packs) == (1, 1)
    assert refs == {b"refs/heads/main": ObjectId(bytes.fromhex(kept))}


@pytest.mark.warns
def test_where_nothing_can_be_made_nothing_is_published(origin: Origin) -> None:
    bad, blob = lose_blob(origin, origin.git("rev-parse", "main"))
    origin.ref("refs/heads/main", bad)
    with pytest.raises(Unpublishable, match=blob):
        origin.publish()
    assert not (origin.path / "gtfs" / "catalogue" / "latest.asc").exists()


@pytest.mark.warns
def test_an_object_over_a_limit_is_told_with_its_path_before_anything_is_sealed(origin: Origin) -> None:
    first = origin.git("rev-parse", "main")
    big = origin.commit({"a": b"a\n", "disk.img": bytes(3000)}, first)
    origin.ref("refs/heads/big", big)
    done, refs, _ = origin.publish(limitobjectbytes="2K")
    assert list(refs) == [b"refs/heads/main"]
    reason = done.held_back[b"refs/heads/big"]
    assert all(
        word in reason for word in (big, "(disk.img)", "over the limit object_bytes: 3000 where 2048 is allowed")
    )
    assert "gtfs.limitobjectbytes" in reason
    assert done.packs == 1

    done, refs, _ = origin.publish(limitobjectbytes="3K")
    assert done.held_back == {} and list(refs) == [b"refs/heads/big", b"refs/heads/main"]


@pytest.mark.warns
@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(objects=4), "objects"),
        (Limits(expanded_bytes=1000), "expanded_bytes"),
        (Limits(structure_bytes=200), "structure_bytes"),
        (Limits(delta_object_bytes=3000), "delta_object_bytes"),
        (Limits(delta_bytes=10), "delta_bytes"),
    ],
)
def test_every_limit_of_a_pack_is_one_of_the_publisher(origin: Origin, limits: Limits, name: str) -> None:
    before = origin.commit({"a": b"a\n", "lines": b"".join(b"%d\n" % i for i in range(1000))})
    origin.ref("refs/heads/before", before)
    with State(open_repository(origin.path)) as state:
        state.take_up()
    more = {f"f{i}": b"%d\n" % i for i in range(4)} if name == "objects" else {}
    lines = b"".join(b"%d\n" % (i if i != 500 else 5000) for i in range(1000))
    origin.ref("refs/heads/after", origin.commit({"a": b"a\n", "lines": lines, **more}, before))
    done, refs, _ = origin.publish(limits)
    assert list(refs) == [b"refs/heads/before", b"refs/heads/main"]
    assert f"over the limit {name}: " in done.held_back[b"refs/heads/after"]


@pytest.mark.warns
def test_what_was_encoded_before_a_limit_was_lowered_is_not_sealed(origin: Origin) -> None:
    origin.ref("refs/heads/big", origin.commit({"zeros": bytes(33 * MIB)}))
    with State(open_repository(origin.path)) as state:
        assert state.take_up().packs == 2
    done, refs, needs = origin.publish(Limits(object_bytes=MIB))
    assert "object_bytes" in done.held_back[b"refs/heads/big"]
    assert list(refs) == [b"refs/heads/main"] and needs == Needs()


def test_the_catalogue_says_what_its_packs_need_and_says_it_on(origin: Origin) -> None:
    assert origin.publish()[2] == Needs()
    origin.ref("refs/heads/big", origin.commit({"zeros": bytes(33 * MIB)}))
    assert origin.publish()[2] == Needs(object_bytes=33 * MIB)
    origin.ref("refs/heads/more", origin.commit({"b": b"b\n"}))
    assert origin.publish()[2] == Needs(object_bytes=33 * MIB)


def with_odd_refs(origin: Origin) -> None:
    oid = origin.git("rev-parse", "main")
    for name in ("heads/dev/x", "notes/commits", "tags/v1", "pull/1/head", "pull/2/head", "pullover", "changes/01/1"):
        origin.ref(f"refs/{name}", oid)


USUAL = ["refs/heads/dev/x", "refs/heads/main", "refs/notes/commits", "refs/tags/v1"]


def test_branches_tags_and_notes_are_published_by_default_and_the_rest_is_named(origin: Origin) -> None:
    with_odd_refs(origin)
    done, refs, _ = origin.publish()
    assert [name.decode() for name in refs] == USUAL
    assert [(left["below"], left["count"], left["first"], left["dropped"]) for left in done.left_out] == [
        ("refs/pull", 2, "refs/pull/1/head", 0),
        ("refs/changes", 1, "refs/changes/01/1", 0),
        ("refs/pullover", 1, "refs/pullover", 0),
    ]


def test_refs_and_hide_are_beginnings_of_names_or_have_stars(origin: Origin) -> None:
    with_odd_refs(origin)
    assert origin.listed(refs="refs/pull") == ["refs/pull/1/head", "refs/pull/2/head"]
    assert origin.listed(refs="refs/pull/*/head", hide="refs/pull/2/") == ["refs/pull/1/head"]
    assert origin.listed(refs="refs/**", hide="refs/*/*/*") == [
        "refs/heads/main",
        "refs/notes/commits",
        "refs/pullover",
        "refs/tags/v1",
    ]
    with pytest.raises(BadConfig):
        parse_pattern("heads/main")


def test_what_git_hides_is_hidden_and_what_it_shows_again_is_shown(origin: Origin) -> None:
    with_odd_refs(origin)
    origin.git("config", "transfer.hideRefs", "refs/heads")
    origin.git("config", "--add", "transfer.hideRefs", "!refs/heads/dev/")
    origin.git("config", "uploadpack.hideRefs", "refs/tags/v1")
    assert origin.listed() == ["refs/heads/dev/x", "refs/notes/commits"]


def test_what_mirrors_have_already_stays_until_it_is_hidden_and_then_that_is_said(origin: Origin) -> None:
    with_odd_refs(origin)
    origin.listed(refs="refs/")
    with State(open_repository(origin.path)) as state:  # as it was published before there were patterns
        state.config.set("refs")
    everything = origin.listed()
    assert "refs/pull/1/head" in everything and "refs/changes/01/1" in everything
    done, refs, _ = origin.publish(hide="refs/pull/")
    assert b"refs/pull/1/head" not in refs
    assert [(left["below"], left["dropped"], left["reason"]) for left in done.left_out] == [
        ("refs/pull", 2, "hidden by gtfs.hide=refs/pull/")
    ]


def test_what_the_owner_lets_git_throw_away_is_no_fault_of_the_reels_that_have_it(origin: Origin) -> None:
    lines = [b"%d\n" % n for n in range(100)]
    second = origin.commit({"a": b"".join(lines)}, origin.git("rev-parse", "main"))
    origin.ref("refs/heads/topic", origin.commit({"a": b"".join([*lines, b"end\n"])}, second))
    origin.publish()
    origin.git("update-ref", "-d", "refs/heads/topic")
    origin.git("gc", "--quiet", "--prune=now")
    done, _, _ = origin.publish()
    assert (done.is_new, done.packs) == (True, 3)
    with State(open_repository(origin.path)) as state:
        assert list(check(state, lambda _d, _t: None)) == []


def test_hidden_history_is_not_encoded(origin: Origin) -> None:
    origin.ref("refs/pull/1/head", origin.commit({"p": b"p\n"}))
    assert origin.publish()[0].packs == 1
    with State(open_repository(origin.path)) as state:
        assert state.index.packs.count() == 1


def test_more_refs_than_a_catalogue_can_name_are_told_with_the_pattern_to_hide(origin: Origin) -> None:
    oid = ObjectId(bytes.fromhex(origin.git("rev-parse", "main")))
    refs = [Ref(b"refs/pull/%d/head" % i, oid, b"commit") for i in range(300_000)]
    with pytest.raises(Unpublishable, match=r"300001 refs .* --hide refs/pull/"):
        check_fits(open_repository(origin.path), [*refs, Ref(b"refs/heads/main", oid, b"commit")])
    check_fits(open_repository(origin.path), refs, in_chunks=True)
    longer = [Ref(b"refs/pull/%d/%s" % (i, b"x" * 220), oid, b"commit") for i in range(300_000)]
    with pytest.raises(Unpublishable, match=r"300000 refs .* --hide refs/pull/"):
        check_fits(open_repository(origin.path), longer, in_chunks=True)


def test_a_head_that_is_a_symbolic_link_is_read(origin: Origin) -> None:
    origin.git("pack-refs", "--all")
    (origin.path / "HEAD").unlink()
    (origin.path / "HEAD").symlink_to("refs/heads/main")
    assert origin.listed() == ["refs/heads/main"]
    with State(open_repository(origin.path)) as state:
        assert state.held is not None and state.held.catalogue.head == b"refs/heads/main"


def test_another_work_trees_broken_head_does_not_matter(origin: Origin, tmp_path: Path) -> None:
    origin.git("worktree", "add", "-q", "--detach", str(tmp_path / "tree"), "main")
    (origin.path / "worktrees" / "tree" / "HEAD").write_text("1" * len(origin.git("rev-parse", "main")) + "\n")
    assert origin.listed() == ["refs/heads/main"]


def test_commits_of_a_detached_head_alone_are_named(origin: Origin) -> None:
    lonely = origin.commit({"a": b"alone\n"}, origin.git("rev-parse", "main"))
    origin.git("update-ref", "--no-deref", "HEAD", lonely)
    done = origin.publish()[0]
    assert [(left["first"], lonely in left["reason"]) for left in done.left_out] == [("HEAD", True)]
    origin.ref("refs/heads/lonely", lonely)
    assert origin.publish()[0].left_out == []


def test_an_empty_shallow_file_is_no_shallow_clone(origin: Origin) -> None:
    (origin.path / "shallow").touch()
    assert origin.listed() == ["refs/heads/main"]


def test_packs_made_again_for_a_reader_lie_in_files_and_only_the_last_is_kept(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.ref("refs/heads/other", origin.commit({"b": bytes(5000)}))
    origin.publish()
    monkeypatch.setattr(packs, "_IN_MEMORY", 1)
    monkeypatch.setattr(packs, "_MADE_BYTES", 1)
    with State(open_repository(origin.path)) as state:
        reel = state.index.reels.all()[0]
        rows = state.index.packs.reel_rows(reel.id)
        whole = state.layout.reel(reel.name).read_bytes()
        state.index.reels.set_stage([reel.id], "remote")
        reads = packs.Packs(state, NoSwarm(), News(state.index))
        for row in [*rows, *rows]:
            at = row.offset or 0
            assert trio.run(reads.read, row.oid, 3, row.size - 5) == whole[at + 3 : at + row.size - 2]
            assert list(reads._made) == [row.oid]
        reads.close()
        assert not reads._made
        state.index.reels.set_stage([reel.id], "complete")


def test_a_ref_that_goes_back_after_the_node_has_published_it_is_seen_to_have_moved(origin: Origin) -> None:
    """Between two looks at the refs, so that they are where they were at the one before."""
    origin.publish()
    old = origin.git("rev-parse", "main")
    new = origin.commit({"a": b"b\n"}, old)

    async def work(state: State) -> None:
        async with open_node(state, NodeOptions(offline=True)) as node:
            await node.take_up()
            origin.ref("refs/heads/main", new)
            await node.publishing.publish()
            seen = node.news.moved.number
            origin.ref("refs/heads/main", old)
            await node.git_news.look()
            assert node.news.moved.number > seen

    with State(open_repository(origin.path)) as state:
        trio.run(work, state)


def by_itself(origin: Origin, play: Callable[[Node], Awaitable[None]]) -> None:
    """Play with the node of a publisher that publishes by itself."""
    origin.publish(publish="auto")

    async def work(state: State) -> None:
        async with open_node(state, NodeOptions(offline=True)) as node:
            await node.take_up()
            await play(node)

    with State(open_repository(origin.path)) as state:
        trio.run(work, state)


@pytest.mark.warns
def test_refs_that_go_back_after_somebody_else_has_published_are_published_again(origin: Origin) -> None:
    old = origin.git("rev-parse", "main")
    between = origin.commit({"a": b"a\n"}, old)
    new = origin.commit({"a": b"b\n"}, between)

    async def play(node: Node) -> None:
        def main() -> str:
            assert node.state.held is not None
            return node.state.held.catalogue.refs[b"refs/heads/main"].hex()

        origin.ref("refs/heads/main", between)
        await node.publishing._publish_if_due()
        origin.ref("refs/heads/main", new)
        await node.publishing.publish()  # as `gtfs publish` asks for it
        assert main() == new
        origin.ref("refs/heads/main", between)
        await node.publishing._publish_if_due()
        assert main() == between

    by_itself(origin, play)


@pytest.mark.warns
def test_what_is_held_back_is_tried_again_once_it_stands_elsewhere(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.git("rev-parse", "main")
    origin.ref("refs/heads/topic", first)
    tried = []
    publish = Publishing.publish

    async def count(publishing: Publishing) -> Published:
        done = await publish(publishing)
        tried.append(list(done.held_back))
        return done

    async def play(node: Node) -> None:
        async def look() -> list[list[bytes]]:
            tried.clear()
            await node.publishing._publish_if_due()
            return tried

        (origin.path / "refs/heads/topic").write_bytes(b"rubbish\n")
        assert await look() == [[b"refs/heads/topic"]]
        assert await look() == []
        origin.ref("refs/heads/main", origin.commit({"a": b"b\n"}, first))
        assert await look() == [[b"refs/heads/topic"]]
        (origin.path / "refs/heads/topic").unlink()
        assert await look() == [[]]
        assert await look() == []

    monkeypatch.setattr(Publishing, "publish", count)
    by_itself(origin, play)


def refs_of(node: Node) -> dict[str, str]:
    assert node.state.held is not None
    return {name.decode(): oid.hex() for name, oid in node.state.held.catalogue.refs.items()}


@pytest.mark.warns
def test_a_ref_that_could_not_be_published_only_where_it_stood_meanwhile_is_published(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.git("rev-parse", "main")
    good = origin.commit({"a": b"b\n"}, first)
    bad, _ = lose_blob(origin, first)

    async def move_meanwhile(*_args: object) -> None:
        origin.ref("refs/heads/topic", bad)

    async def play(node: Node) -> None:
        origin.ref("refs/heads/topic", good)
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "hear_others", move_meanwhile)
            await node.publishing._publish_if_due()
        assert "refs/heads/topic" not in refs_of(node)
        origin.ref("refs/heads/topic", good)
        await node.publishing._publish_if_due()
        assert refs_of(node)["refs/heads/topic"] == good

    by_itself(origin, play)


@pytest.mark.warns
@pytest.mark.parametrize("looks", ["after an hour", "as asked"])
def test_what_was_held_back_and_is_mended_where_it_stands_is_published(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, looks: str
) -> None:
    bad, blob = lose_blob(origin, origin.git("rev-parse", "main"))

    async def play(node: Node) -> None:
        async def look() -> bool:
            await node.publishing._publish_if_due()
            return "refs/heads/topic" in refs_of(node)

        origin.ref("refs/heads/topic", bad)
        assert not await look()
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "_LOOK_S", 0.0)
            assert not await look()
        assert [record.getMessage() for record in caplog.records if "heads/topic" in record.getMessage()] == [
            f"not published: refs/heads/topic: {node.publishing._troubles._last['not published: refs/heads/topic']}"
        ]
        assert origin.put("blob", b"lost\n") == blob
        assert not await look()  # nothing has moved
        if looks == "as asked":
            assert (await node.publishing.asked_draft({}, lambda _progress: None))["draft"]
        else:
            monkeypatch.setattr(publishing, "_LOOK_S", 0.0)
        assert await look()

    by_itself(origin, play)
