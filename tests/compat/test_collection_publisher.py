# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's collection, signed by real gpg: what it lists, when it is a new version, and the files beside it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from collecting import held, publish_repository
from keys import Keys, shared_keys

from gtfs.catalogue.issue import TooFewKeys
from gtfs.collection.document import BadCollection
from gtfs.collection.found import find_published
from gtfs.collection.places import out_files
from gtfs.collection.publisher import (
    LosesMany,
    NoCollection,
    PublisherSettings,
    default_feeds,
    held_collection,
    init_collection,
    publish_collection,
    read_settings,
)
from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository
from gtfs.state.initialise import initialise
from gtfs.state.outstanding import note_failure
from gtfs.state.state import State
from gtfs.trust.verify import split_clearsigned


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def top(tmp_path: Path, keys: Keys) -> Path:
    directory = tmp_path / "git"
    for name in ("a.git", "pub/b.git", "pub/c"):
        publish_repository(directory / name, keys, name=name.replace("/", "-"))
    init_collection(directory, settings(keys, directory))
    return directory


def settings(keys: Keys, directory: Path, **changes: object) -> PublisherSettings:
    plain = PublisherSettings("kernel", keys["alice"], str(keys.home), default_feeds(directory, "https://h/git/"))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def names(top: Path) -> list[str]:
    found = held_collection(top)
    assert found is not None
    return [entry.name for entry in found.catalogue.entries]


def test_what_is_published_below_a_directory_is_listed_and_signed(top: Path, keys: Keys) -> None:
    done = publish_collection(top)
    assert done.is_new and done.version == 1 and done.added == ["a.git", "pub/b.git", "pub/c"] and not done.left_out
    document = out_files(top)[0].read_bytes()
    keys.gpg("--verify", str(out_files(top)[0]))
    (a, b, _) = held(document).entries
    assert (a.repository, a.version, a.head, a.reel) == ("a.git", 1, b"refs/heads/main", "cd" * 8)
    assert b.feeds == ("https://h/git/pub/b.git/gtfs/catalogue/latest.asc",)
    assert a.signing.keys == (keys["alice"],)


def test_a_version_is_new_only_if_something_changed(top: Path, keys: Keys) -> None:
    publish_collection(top)
    again = publish_collection(top)
    assert not again.is_new and again.version == 1 and publish_collection(top, force=True).version == 2
    publish_repository(top / "a.git", keys, 2, name="a.git")
    done = publish_collection(top)
    assert done.version == 3 and done.changed == ["a.git"]
    assert (
        held(out_files(top)[0].read_bytes()).previous
        == hashlib.sha256(keys.gpg("--decrypt", str(top / ".gtfs-collection" / "catalogue" / "2.asc"))).hexdigest()
    )


def test_a_version_that_ends_soon_is_signed_anew(top: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_collection(top)
    monkeypatch.setattr("gtfs.collection.publisher._RENEW_LEFT", 2.0)
    assert publish_collection(top).version == 2


def test_the_globs_choose_and_what_published_nothing_is_named(top: Path, keys: Keys) -> None:
    (top / "empty.git" / "objects").mkdir(parents=True)
    (top / "empty.git" / "refs").mkdir()
    (top / "empty.git" / "HEAD").touch()
    init_collection(top, settings(keys, top, include=("*b.git", "e*"), exclude=("pub/c",)))
    done = publish_collection(top)
    assert names(top) == ["pub/b.git"] and list(done.left_out) == ["empty.git"]


def test_of_what_has_published_nothing_it_is_said_what_it_waits_for(tmp_path: Path, keys: Keys) -> None:
    repository = create_repository(tmp_path / "top" / "a.git", SHA1)

    def said() -> str:
        return find_published(tmp_path / "top", (), ("*",), ()).left_out["a.git"]

    assert "gtfs init" in said()
    with State(repository) as state:
        initialise(state, "a", keys["alice"], str(keys.home))
        for mode, words in (
            ("manual", "run gtfs publish /"),
            ("auto", "has a branch or tag and"),
            ("tags", "a tag and"),
        ):
            state.config.set("publish", mode)
            assert words in said() and ("run gtfs publish" in said()) == (mode == "manual")
    note_failure(repository.layout, OSError("the agent sleeps"))
    assert said().endswith("that failed: the agent sleeps")


def test_a_repository_with_a_work_tree_is_listed_with_the_feed_that_it_has(top: Path, keys: Keys) -> None:
    publish_repository(top / "tree" / ".git", keys, name="tree")
    publish_collection(top)
    found = held_collection(top)
    assert found is not None
    assert found.catalogue.entries[-1].feeds == ("https://h/git/tree/.git/gtfs/catalogue/latest.asc",)


def test_links_and_names_that_cannot_be_listed_are_left_out(top: Path, keys: Keys, tmp_path: Path) -> None:
    (top / "link.git").symlink_to(top / "a.git")
    publish_repository(top / "-o.git", keys)
    publish_repository(top / "a\nb", keys)
    publish_repository(top / ".hidden", keys)
    done = publish_collection(top)
    assert names(top) == ["a.git", "pub/b.git", "pub/c"] and sorted(done.left_out) == ["'a\\nb'", "-o.git"]


def test_a_damaged_catalogue_leaves_its_repository_out_and_the_others_in(top: Path) -> None:
    (top / "a.git" / "gtfs" / "catalogue" / "1.asc").write_text("rubbish")
    done = publish_collection(top)
    assert names(top) == ["pub/b.git", "pub/c"] and "is damaged" in done.left_out["a.git"]


def test_a_dry_run_signs_and_writes_nothing(top: Path) -> None:
    done = publish_collection(top, dry_run=True)
    assert done.is_new and done.entries == 3
    assert held_collection(top) is None and not any(path.exists() for path in out_files(top))


def test_a_list_that_would_lose_many_is_not_signed_unless_that_is_meant(top: Path, keys: Keys) -> None:
    publish_collection(top)
    (top / "pub").rename(top / ".pub")  # a disk that is not mounted, say
    with pytest.raises(LosesMany, match=r"2 of 3 repositories are not below .*, pub/b.git first; if that is meant"):
        publish_collection(top)
    assert names(top) == ["a.git", "pub/b.git", "pub/c"]
    assert publish_collection(top, force=True).removed == ["pub/b.git", "pub/c"]
    (top / "a.git").rename(top / ".a.git")
    with pytest.raises(LosesMany):
        publish_collection(top)


def test_those_who_publish_at_once_do_so_one_after_the_other(top: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = [done.version for done in pool.map(lambda _: publish_collection(top, force=True), range(4))]
    assert sorted(versions) == [1, 2, 3, 4]


def test_a_file_that_a_crash_kept_from_being_written_is_written_by_the_next_publish(top: Path) -> None:
    publish_collection(top)
    kept = [path.read_bytes() for path in out_files(top)]
    for path in out_files(top):
        path.unlink()
    assert not publish_collection(top).is_new
    assert [path.read_bytes() for path in out_files(top)] == kept


def test_another_key_takes_over_with_the_word_of_both(top: Path, keys: Keys) -> None:
    publish_collection(top)
    init_collection(top, settings(keys, top, sign_key=keys["bob"]))
    publish_collection(top)
    new = held_collection(top)
    assert new is not None and new.catalogue.version == 2 and new.catalogue.signers == (keys["bob"],)
    assert publish_collection(top, force=True).version == 3


def test_a_list_needs_as_many_signatures_as_its_publisher_was_told(top: Path, keys: Keys) -> None:
    both = (keys["alice"], keys["bob"])
    init_collection(top, settings(keys, top, signers=both, threshold=2))
    assert read_settings(top).signers == both
    publish_collection(top)
    new = held_collection(top)
    assert new is not None and (new.catalogue.signers, new.catalogue.threshold) == (both, 2)
    assert len(split_clearsigned(new.document)[1]) == 2
    with pytest.raises(BadCollection, match="3 signatures of 2 signers"):
        init_collection(top, settings(keys, top, signers=both, threshold=3))


def test_where_too_few_of_a_lists_keys_are_nothing_is_signed(
    top: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = (keys["alice"], keys["bob"])
    init_collection(top, settings(keys, top, signers=both, threshold=2))
    monkeypatch.setattr("gtfs.catalogue.issue.secret_keys", lambda _home: {keys["alice"]})
    with pytest.raises(TooFewKeys, match="a list is signed in one go"):
        publish_collection(top)
    assert held_collection(top) is None


def test_of_two_names_that_are_one_place_the_one_that_is_listed_stays_and_all_others_are_listed(
    top: Path, keys: Keys
) -> None:
    publish_collection(top)
    publish_repository(top / "A", keys, name="other")
    publish_repository(top / "new", keys, name="new")
    publish_repository(top / "PUB" / "B.git" / "c", keys, name="within")
    done = publish_collection(top)
    assert names(top) == ["a.git", "new", "pub/b.git", "pub/c"] and done.added == ["new"]
    assert done.left_out == {
        name: f"it {how}, and such names cannot both be those of directories; rename one of them"
        for name, how in (
            ("A", "differs only by case, form or .git from 'a.git'"),
            ("PUB/B.git/c", "lies within 'pub/b.git'"),
        )
    }


def test_of_two_new_names_that_are_one_place_one_is_listed_and_stays(top: Path, keys: Keys) -> None:
    publish_repository(top / "A", keys, name="other")
    assert list(publish_collection(top).left_out) == ["a.git"] and names(top) == ["A", "pub/b.git", "pub/c"]
    (top / "A").rename(top / "B")
    assert publish_collection(top).left_out == {} and names(top) == ["B", "a.git", "pub/b.git", "pub/c"]


def test_a_directory_that_is_no_collection_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NoCollection, match="run: gtfs collection init"):
        publish_collection(tmp_path)


def test_the_name_is_for_good_and_settings_are_kept(top: Path, keys: Keys) -> None:
    with pytest.raises(NoCollection, match="is named kernel already"):
        init_collection(top, settings(keys, top, name="other"))
    assert read_settings(top) == settings(keys, top)
    (top / ".gtfs-collection" / "settings.json").write_text('{"format": 2}')
    with pytest.raises(NoCollection, match="a newer gtfs"):
        read_settings(top)


@pytest.mark.parametrize("name", ["a b", "../x", ""])
def test_a_name_that_the_format_does_not_take_is_refused_at_init(tmp_path: Path, keys: Keys, name: str) -> None:
    with pytest.raises(BadCollection):
        init_collection(tmp_path, settings(keys, tmp_path, name=name))


def test_grokmirrors_manifest_and_cgits_list_lie_beside_it(top: Path, tmp_path: Path, keys: Keys) -> None:
    repository = top / "real.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    tree = subprocess.run(
        ["git", "-C", repository, "mktree"], input=b"", capture_output=True, check=True
    ).stdout.strip()
    commit = subprocess.run(
        ["git", "-C", repository, "commit-tree", "-m", "x", tree], capture_output=True, check=True
    ).stdout.strip()
    subprocess.run(["git", "-C", repository, "update-ref", "refs/heads/main", commit], check=True)
    (repository / "description").write_text("What it is\n")
    publish_repository(repository, keys, name="real")
    init_collection(top, settings(keys, top, out=str(tmp_path / "www")))
    publish_collection(top)
    _, manifest, projects = out_files(tmp_path / "www")
    assert projects.read_bytes() == b"a.git\npub/b.git\npub/c\nreal.git\n"
    said = json.loads(gzip.decompress(manifest.read_bytes()))
    refs = subprocess.run(["git", "-C", repository, "show-ref"], capture_output=True, check=True).stdout
    assert said["/real.git"]["fingerprint"] == hashlib.sha1(refs).hexdigest()  # as grokmirror 2 reckons it
    assert said["/real.git"]["description"] == "What it is" and said["/real.git"]["head"] == "ref: refs/heads/main"
    before = manifest.stat().st_ino
    publish_collection(top)
    assert manifest.stat().st_ino == before  # what says the same is not written again
