# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository in which git runs git-remote-gtfs, and what its git is offered."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from history import History

from gtfs.feed import parse_feed
from gtfs.ids import SHA1, ObjectId
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refoffers import RefOffer, offer_refs, offered_before
from gtfs.remote import clone
from gtfs.remote.clone import find_clone
from gtfs.remote.following import Following, JudgedRefs
from gtfs.remote.protocol import Options, RefList, Want
from gtfs.remote.settings import settings_of
from gtfs.repo.history import read_places
from gtfs.repo.repository import Repository, create_repository
from gtfs.repo.unpack import kept_marks, unpack
from gtfs.state.lock import Busy
from gtfs.state.otherstates import make, other, set_aside
from gtfs.state.private import make_private
from gtfs.state.state import State

FEED = "https://example.org/latest.asc"


@pytest.mark.parametrize("name", ["a b", "two\nlines", "ends\n", "page\x0c", "line\u2028", "\udcff"])
def test_a_clone_is_found_by_any_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_repository(tmp_path / name, SHA1)
    monkeypatch.setenv("GIT_DIR", str(made.path))
    assert find_clone() == made


@pytest.mark.parametrize("is_withdrawn", [True, False])
def test_a_place_that_nobody_took_is_offered_again_only_if_it_can_come_again(
    is_withdrawn: bool, tmp_path: Path
) -> None:
    """As of a branch that was not fetched, was forced elsewhere since, and of which git gc left nothing."""
    history, demands = History(tmp_path / "clone.git"), Demands([], [], None)
    old, new, name = history.commit(), history.commit(), b"refs/heads/topic"
    history.ref("refs/remotes/origin/topic", old)
    history.ref("refs/remotes/origin/other", new)
    with State(history.repository) as state:
        state.take_up()
        assert offer_refs(history.repository, state.index, {name: old}, demands).refs == {name: old}
        history.ref("refs/remotes/origin/topic", None)
        history.git("prune", "--expire=now")
        if is_withdrawn:
            state.index.packs.drop([old])
        found = offer_refs(history.repository, state.index, {name: new}, demands)
        assert "does not descend from" in found.held_back[name]
        assert found.refs == offered_before(history.repository, state.index) == ({} if is_withdrawn else {name: old})


class Publisher:
    """Brings packs into the object store of a clone, as a fetch of his does that is on its way."""

    def __init__(self, path: Path) -> None:
        self._history = History(path)
        self._batch = path.with_suffix(".pack")

    def bring(self, repository: Repository) -> Path:
        """The mark of one."""
        oid = self._history.commit()
        self._batch.write_bytes(self._packed(oid))
        make_private(repository.state_directory)
        [mark] = unpack(repository, self._batch, 1000)
        return mark

    def _packed(self, oid: ObjectId) -> bytes:
        command = ["git", f"--git-dir={self._history.path}", "pack-objects", "--quiet", "--stdout"]
        return subprocess.run(command, input=oid.hex().encode(), capture_output=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create_repository(tmp_path / "clone.git", SHA1)


def test_what_came_is_gits_to_repack_once_refs_moved_though_a_node_has_the_clone_for_good(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what has come for another git since."""
    publisher = Publisher(tmp_path / "origin.git")
    publisher.bring(repository)
    nothing = JudgedRefs(RefList(SHA1, {}, None), RefOffer({}, {}, frozenset(), frozenset()), {})
    following = Following(parse_feed(FEED), settings_of("origin", b""), Options())
    following._clone = repository
    monkeypatch.setattr(following, "_ask_running", lambda *_: nothing)

    async def busy(_repository: Repository) -> JudgedRefs:
        raise Busy(repository.layout.lock, 0, is_node=True)

    with State(repository, is_node=True):
        following._in_turn(repository, busy, lambda _progress: None)
        later = publisher.bring(repository)
        following.end()
        assert kept_marks(repository) == [later]


def test_the_end_of_a_fetch_leaves_what_came_of_another_publisher(repository: Repository, tmp_path: Path) -> None:
    beside = other(repository, parse_feed(FEED))
    make(repository, beside)
    publisher = Publisher(tmp_path / "origin.git")
    first, second = publisher.bring(repository), publisher.bring(beside)
    assert (kept_marks(repository), kept_marks(beside)) == ([first], [second])
    assert first.parent.samefile(second.parent)
    clone.end(beside, kept_marks(beside), keeps_reels=True)
    assert first.exists() and not second.exists()
    clone.end(repository, kept_marks(repository), keeps_reels=True)
    assert not first.exists()


def test_what_came_into_a_clone_that_is_to_publish_from_now_on_is_gits(repository: Repository, tmp_path: Path) -> None:
    with State(repository) as state:
        state.config.set("clone", "true")
        state.config.set("source", FEED)
    mark = Publisher(tmp_path / "origin.git").bring(repository)
    set_aside(repository, ())
    assert not mark.exists() and not repository.layout.root.exists()


@pytest.fixture(params=["a part", "a mirror"])
def other_repository(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Where git runs, which may follow no feed."""
    history = History(tmp_path / "elsewhere.git")
    history.ref("refs/heads/main", history.chain(2)[-1])
    place = tmp_path / "here.git"
    depth = ["--depth=1", "--branch=main"] if request.param == "a part" else ["--mirror"]
    subprocess.run(["git", "clone", "-q", "--bare", *depth, f"file://{history.path}", place], check=True)
    repository = Repository(place, SHA1)
    if request.param == "a mirror":
        with State(repository) as state:
            state.config.set("source", FEED)
    monkeypatch.setenv("GIT_DIR", str(place))
    return repository


def listing(refs: dict[bytes, ObjectId], monkeypatch: pytest.MonkeyPatch) -> Following:
    """A conversation about a feed of these refs, that is believed."""
    catalogue = SimpleNamespace(refs=refs, head=None, policy=(), object_format=SHA1)
    following = Following(parse_feed(FEED), settings_of("origin", b""), Options())
    belief = SimpleNamespace(accepted=SimpleNamespace(catalogue=catalogue))
    monkeypatch.setattr(following, "_believe_first", lambda: belief)
    return following


def test_refs_are_told_wherever_git_runs_and_what_they_name_is_fetched_into_a_whole_clone_alone(
    other_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = {b"refs/heads/main": ObjectId(b"\xaa" * 20)}
    following = listing(refs, monkeypatch)
    assert following.list(for_push=False).refs == refs
    with pytest.raises(clone.NotAClone, match=r"is a mirror|is a clone of a part"):
        following.fetch([Want(refs[b"refs/heads/main"], b"refs/heads/main")])


@pytest.mark.parametrize("how", ["no index", "no source"])
def test_a_mirror_is_known_as_such_whatever_its_index_and_feeds_are(tmp_path: Path, how: str) -> None:
    repository = create_repository(tmp_path / "mirror.git", SHA1)
    with State(repository) as state:
        if how == "no index":
            state.config.set("source", FEED)
        else:
            state.layout.latest.touch()
    repository.layout.index.unlink()
    with pytest.raises(clone.NotAClone, match="is a mirror"):
        clone.has_catalogue(repository)


def test_a_repository_that_was_only_mounted_or_looked_into_may_become_a_clone(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "plain.git", SHA1)
    with State(repository):
        pass
    assert repository.layout.index.exists() and not clone.has_catalogue(repository)


def test_refs_at_what_git_has_and_will_not_ask_for_are_not_told_where_nothing_can_be_judged(
    other_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = read_places(other_repository)[b"refs/heads/main"]
    with pytest.raises(clone.NotAClone, match=r"is a mirror|is a clone of a part"):
        listing({b"refs/heads/main": here}, monkeypatch).list(for_push=False)
