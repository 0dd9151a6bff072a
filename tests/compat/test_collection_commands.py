# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs collection follow`` and ``init``: what is judged before it is written, and that the daemon reads it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from collecting import ListPublisher, follower, held, publish_repository
from keys import Keys, shared_keys

from gtfs.catalogue.goback import NoSuchVersion
from gtfs.cli.commands import cli
from gtfs.cli.nodeoptions import check_own, check_process
from gtfs.cli.work.collection import DaemonBusy
from gtfs.collection.believed import CollectionRefused
from gtfs.collection.followed import FollowedCollection, FollowSettings
from gtfs.daemon.conf import Configuration, OptionsCheck, read_configuration
from gtfs.daemon.places import find_places
from gtfs.errors import GtfsError
from gtfs.feed import BadFeed
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.lock import Lock
from gtfs.trust.verify import split_clearsigned


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gtfs.conf whose drop-ins are written."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "gtfs.conf"


@pytest.fixture
def source(tmp_path: Path, keys: Keys) -> Path:
    publisher = ListPublisher(keys)
    path = tmp_path / "collection.asc"
    path.write_bytes(publisher.sign(publisher.first("a", "b")))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["collection", *map(str, words)], catch_exceptions=True, standalone_mode=False)


def error(*words: object) -> GtfsError:
    found = run(*words).exception
    assert isinstance(found, GtfsError), found
    return found


def second_of(keys: Keys, source: Path) -> bytes:
    publisher = ListPublisher(keys)
    return publisher.sign(publisher.next(held(source.read_bytes()), "a", "evil"))


def configuration(config: Path) -> Configuration:
    return read_configuration(
        find_places(os.environ, is_root=True, config=config), OptionsCheck(check_process, check_own)
    )


def test_what_is_followed_is_what_the_daemon_reads(there: Path, source: Path, keys: Keys, tmp_path: Path) -> None:
    odd = tmp_path / 'odd "name\\\n#;'
    odd.write_bytes(source.read_bytes())
    ring = tmp_path / "a ring;.gpg"
    ring.write_bytes(keys.export("alice", "bob"))
    done = run(
        "follow", odd, "--config", there, "--name", "mine", "--keyring", ring, "--signer", keys["alice"],
        "--include", "a*", "--exclude", "*z", "--gone", "move", "--directory", tmp_path / "m", "-o", "poll=9",
        "-o", "upload=1M", "--json",
    )  # fmt: skip
    assert done.exception is not None  # the rate is the process's, and that is said before anything is written
    assert not (tmp_path / "gtfs.conf.d").exists()
    done = run(
        "follow", odd, "--config", there, "--name", "mine", "--keyring", ring, "--signer", keys["alice"],
        "--include", "a*", "--exclude", "*z", "--gone", "move", "--directory", tmp_path / "m", "-o", "poll=9", "--json",
    )  # fmt: skip
    assert done.exception is None, done.exception
    (found,) = configuration(there).collections
    assert (found.name, found.source, found.directory, found.gone) == ("mine", str(odd), tmp_path / "m", "move")
    assert (list(found.include), list(found.exclude)) == (["a*"], ["*z"]) and "poll=9" in found.options
    assert (list(found.trust.keyrings), list(found.trust.signers)) == ([ring], [keys["alice"]])
    said = json.loads(done.output)
    assert said["repositories"] == 2 and said["told"] is False and said["file"].endswith("collection-mine.conf")


def test_a_key_of_the_users_own_gnupg_is_kept_beside_the_drop_in(
    there: Path, source: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(keys.home))
    assert run("follow", source, "--config", there, "--signer", keys["alice"]).exception is None
    (found,) = configuration(there).collections
    assert found.name == "kernel" and found.kind == "collection"
    (ring,) = found.trust.keyrings
    assert ring.name == "collection-kernel.gpg" and set(keys.keyring("k.gpg", ring).primaries) == {keys["alice"]}


def test_a_list_that_nobody_may_have_signed_is_not_followed(there: Path, source: Path, keys: Keys) -> None:
    assert isinstance(error("follow", source, "--config", there), NotFollowing)
    refused = error("follow", source, "--config", there, "--keyring", keys.public, "--signer", keys["bob"])
    assert isinstance(refused, CollectionRefused) and refused.exit_code == 4
    asked = error("follow", source, "--config", there, "--keyring", keys.public)
    assert f"signer={keys['alice']} (as signer = FPR in gtfs.conf)" in str(asked)
    assert not there.with_name("gtfs.conf.d").exists()


def test_a_manifest_is_followed_by_names_alone(there: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.js.gz"
    manifest.write_bytes(gzip.compress(b'{"/a.git": {}}'))
    done = run("follow", manifest, "--manifest", "--name", "old", "--feed", "https://h/{}", "--config", there)
    assert done.exception is None, done.exception
    (found,) = configuration(there).collections
    assert (found.kind, found.source, found.feed) == ("manifest", str(manifest), "https://h/{}")
    assert "give --name NAME" in str(error("follow", manifest, "--manifest", "--config", there))


def test_a_collection_is_not_looked_for_in_the_dht(there: Path) -> None:
    assert isinstance(error("follow", "gtfs:" + "ab" * 32, "--config", there), BadFeed)


def test_where_nothing_is_followed_the_list_says_so(there: Path) -> None:
    found = run("list")
    assert found.return_value == 0 and "no collection is followed here" in found.output + found.stderr
    assert json.loads(run("list", "--json").stdout) == {"collections": []}


def test_a_name_that_is_mistyped_is_told_the_one_that_is_followed(there: Path) -> None:
    (there.parent / "state" / "collections" / "kernel").mkdir(parents=True)
    for verb, *words in (["list"], ["prune"], ["rewind", 1]):
        assert "did you mean kernel?" in str(error(verb, "kernl", *words))
        assert "gtfs collection list names them all" in str(error(verb, "x", *words))


def test_one_goes_back_to_an_older_list_where_no_daemon_runs(
    there: Path, source: Path, keys: Keys, tmp_path: Path
) -> None:
    root, second = tmp_path / "state" / "collections" / "kernel", second_of(keys, source)
    following = follower(tmp_path, keys, root=root)
    following.take(source.read_bytes())
    following.take(second)
    before = sorted(root.rglob("*"))
    dry = run("rewind", "kernel", 1, "--dry-run")
    assert dry.exception is None, dry.exception
    first = hashlib.sha256(split_clearsigned(source.read_bytes())[0]).hexdigest()
    catalogue = root / "catalogue"
    assert dry.output == (f"version 1 would be held again, digest {first}\nwould be set aside {catalogue / '2.asc'}\n")
    assert sorted(root.rglob("*")) == before
    with Lock(tmp_path / "state" / "lock"):  # as a daemon has it that does not answer yet
        assert isinstance(error("rewind", "kernel", 1), DaemonBusy)
    done = json.loads(run("rewind", "kernel", 1, "--json").output)
    (aside,) = catalogue.glob("withdrawn-2-*.asc")
    assert done == {"name": "kernel", "version": 1, "digest": first, "files": [str(aside)]}
    assert "what this node can go back to is nothing" in str(error("rewind", "kernel", 1))
    again = follower(tmp_path, keys, root=root)
    assert again.describe()["version"] == 1
    with pytest.raises(CollectionRefused, match="version 2 was taken back here, see gtfs collection rewind"):
        again.take(second)


def test_of_a_manifest_there_is_no_version_to_go_back_to(there: Path, tmp_path: Path) -> None:
    root = tmp_path / "state" / "collections" / "old"
    following = FollowedCollection(root, FollowSettings("old", "https://h/manifest.js.gz", tmp_path / "m", "manifest"))
    with pytest.raises(NoSuchVersion, match="of which no version is kept"):
        following.rewind(1)
    assert isinstance(error("rewind", "old", 1), NoSuchVersion)
    assert not (root / "catalogue").exists()


def test_what_is_not_followed_cannot_be_listed_or_pruned(there: Path) -> None:
    assert json.loads(run("list", "--json").output) == {"collections": []}
    for words in (("list", "x"), ("prune", "x"), ("prune", "../x")):
        assert error(*words).exit_code == 2


def keys_in(found: object) -> set[str]:
    """All keys of JSON that are words of ours, at any depth."""
    if isinstance(found, list):
        return {key for item in found for key in keys_in(item)}
    if not isinstance(found, dict):
        return set()
    names = ("left_out", "not_published", "not_followed")
    return set(found) | {key for name, item in found.items() if name not in names for key in keys_in(item)}


def test_every_key_of_the_json_is_told_and_no_other(there: Path, source: Path, keys: Keys, tmp_path: Path) -> None:
    top = tmp_path / "git"
    publish_repository(top / "a.git", keys)
    found = set()
    for words in (
        ("init", top, "--name", "kernel", "--sign-key", keys["alice"], "--gnupg-home", keys.home),
        ("publish", top),
        ("list", top),
        ("follow", source, "--keyring", keys.public, "--signer", keys["alice"], "--config", there),
    ):
        found |= keys_in(json.loads(run(*words, "--json").output))
    following = follower(tmp_path, keys)
    following.take(source.read_bytes())
    following.take(second_of(keys, source))
    (tmp_path / "state").rename(tmp_path / "kernel")
    (tmp_path / "state" / "collections").mkdir(parents=True)
    (tmp_path / "kernel").rename(tmp_path / "state" / "collections" / "kernel")
    for words in (("list",), ("prune", "kernel"), ("rewind", "kernel", 1, "--dry-run")):
        found |= keys_in(json.loads(run(*words, "--json").output))
    page = (Path(__file__).parents[2] / "man" / "gtfs-collection.5").read_text()
    text = page.partition(".Sh JSON\n")[2].partition("\n.Sh ")[0]
    told = {
        word for line in re.findall(r"^\.(?:It )?Cm (.*)$", text, re.MULTILINE) for word in re.findall(r"\w+", line)
    }
    assert told == found | {"put_away"}  # of a mirror that was ended, as test_collection_followed.py has it


def test_settings_are_changed_one_by_one(tmp_path: Path, keys: Keys) -> None:
    first = ("init", tmp_path, "--name", "kernel", "--sign-key", keys["alice"], "--gnupg-home", keys.home)
    assert json.loads(run(*first, "--url", "https://h/", "--dry-run", "--json").output)["name"] == "kernel"
    assert "give --name" in str(error("init", tmp_path, "--valid-days", 3))
    assert run(*first, "--url", "https://h/").exception is None
    done = json.loads(run("init", tmp_path, "--valid-days", 3, "--exclude", "x*", "--json").output)
    assert (done["valid_days"], done["exclude"], done["include"]) == (3, ["x*"], ["*"])
    assert done["feeds"] == ["https://h/{}/gtfs/catalogue/latest.asc"] and done["sign_key"] == keys["alice"]
