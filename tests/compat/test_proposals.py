# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue that several sign, each in a GnuPG of his own: proposed, signed by file, completed, and rotated."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from keys import Keys, shared_keys

from gtfs.catalogue.accept import CatalogueRefused
from gtfs.catalogue.document import digest, from_text
from gtfs.catalogue.issue import TooFewKeys
from gtfs.cli.work.sign import NothingSigned
from gtfs.cli.work.sign import run as sign_file
from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state import proposal, publish
from gtfs.state.config import BadConfig
from gtfs.state.describe import describe_state
from gtfs.state.fsck import check
from gtfs.state.initialise import Wanted, make_publisher
from gtfs.state.proposal import BadProposal, NotSignedEnough, Proposal, complete, propose
from gtfs.state.publish import Published, publish_now
from gtfs.state.state import State

NAMES = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture(scope="module")
def homes(keys: Keys) -> Iterator[dict[str, Path]]:
    """For each name a home of GnuPG with that secret key alone, and every public one; "none" has no secret key."""
    base = Path(tempfile.mkdtemp(prefix="gtfs-homes-", dir="/tmp"))
    made = {}
    for name in (*NAMES, "mallory", "none"):
        made[name] = base / name
        made[name].mkdir(mode=0o700)
        gpg = ["gpg", "--homedir", made[name], "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*gpg, "--import"], input=keys.public.read_bytes(), capture_output=True, check=True)
        if name != "none":
            secret = keys.gpg("--export-secret-keys", keys[name])
            subprocess.run([*gpg, "--import"], input=secret, capture_output=True, check=True)
    yield made
    for home in made.values():
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(base)


def git(path: Path, *args: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", "-C", path, *who, *args], capture_output=True, check=True, text=True).stdout.strip()


class Publisher:
    """A repository, and what its people do with it."""

    def __init__(self, directory: Path, keys: Keys, homes: dict[str, Path]) -> None:
        self.keys, self.homes = keys, homes
        self.bare, self.work, self.out = directory / "r.git", directory / "work", directory / "out"
        self.out.mkdir()
        create_repository(self.bare, SHA1)
        subprocess.run(["git", "init", "-q", "-b", "main", self.work], check=True)
        self.commit()

    def commit(self) -> str:
        git(self.work, "commit", "-q", "--allow-empty", "-m", "more")
        git(self.work, "push", "-q", str(self.bare), "main")
        return git(self.work, "rev-parse", "HEAD")

    def init(self, *names: str, threshold: int = 2, home: str = "none", **more: object) -> None:
        signers = tuple(self.keys[name] for name in names)
        place = self.keys.home if home == "all" else self.homes[home]
        wanted = Wanted("demo", gnupg_home=place, signers=signers, threshold=threshold, **more)  # type: ignore[arg-type]
        make_publisher(open_repository(self.bare), wanted)

    def propose(self, *, force: bool = False) -> Proposal:
        with State(open_repository(self.bare)) as state:
            done = propose(state, force=force)
            assert isinstance(done, Proposal)
            (self.out / "p").write_bytes(done.file.read_bytes())
            if done.before is not None:
                (self.out / "p.before").write_bytes(done.before.read_bytes())
            return done

    def sign(self, name: str) -> bytes:
        sign_file(self.out / "p", None, self.homes[name], True)
        (made,) = self.out.glob("p.*.asc")
        data = made.read_bytes()
        made.unlink()
        return data

    def complete(self, **documents: bytes) -> Published:
        with State(open_repository(self.bare)) as state:
            return complete(state, documents)

    def publish(self) -> Published:
        with State(open_repository(self.bare)) as state:
            return publish_now(state)

    def held(self) -> tuple[int, list[str]]:
        """The version, and where its refs stand; what it lists is here."""
        with State(open_repository(self.bare)) as state:
            assert state.held is not None and list(check(state, lambda _d, _t: None)) == []
            assert state.index.refs.held() == state.held.catalogue.refs
            return state.held.catalogue.version, [oid.hex() for oid in state.held.catalogue.refs.values()]


@pytest.fixture
def publisher(tmp_path: Path, keys: Keys, homes: dict[str, Path]) -> Publisher:
    return Publisher(tmp_path, keys, homes)


def test_a_proposal_that_enough_signed_where_their_keys_are_is_published(publisher: Publisher) -> None:
    tip = git(publisher.work, "rev-parse", "HEAD")
    publisher.init(*NAMES)
    done = publisher.propose()
    assert done.is_new and done.before is None and [str(role).split()[:2] for role in done.needed] == [["2", "of"]]
    assert not (publisher.bare / "gtfs" / "catalogue" / "latest.asc").exists()
    one, other = publisher.sign("bob"), publisher.sign("carol")
    with State(open_repository(publisher.bare)) as state:
        assert describe_state(state)["publish"]["proposed"] == 1
    with pytest.raises(NotSignedEnough, match="and needs 2 of"):
        publisher.complete(one=one)
    with pytest.raises(NotSignedEnough, match="needs 2 of"):  # twice the same is once
        publisher.complete(one=one, again=publisher.sign("bob"))
    assert publisher.complete(one=one, other=other).version == 1
    assert publisher.held() == (1, [tip])
    assert not (publisher.bare / "gtfs" / "proposal").exists()
    with State(open_repository(publisher.bare)) as state:
        assert describe_state(state)["publish"]["proposed"] is None
    with pytest.raises(BadProposal, match="has no proposal"):
        publisher.complete(one=one, other=other)
    # Plain gpg agrees, and the next version is made the same way.
    assert b"Version: 1" in publisher.keys.gpg("--decrypt", str(publisher.bare / "gtfs" / "catalogue" / "latest.asc"))
    publisher.commit()
    publisher.propose()
    assert publisher.complete(a=publisher.sign("alice"), c=publisher.sign("carol")).version == 2


def test_plain_gpg_signs_a_proposal_as_well(publisher: Publisher, keys: Keys) -> None:
    publisher.init(*NAMES)
    text = publisher.propose().file.read_bytes()
    assert publisher.complete(a=keys.clearsign(text, "alice"), b=keys.clearsign(text, "bob", digest="SHA512")).is_new
    assert keys.gpg("--decrypt", str(publisher.bare / "gtfs" / "catalogue" / "latest.asc")) == text


def test_one_file_with_the_signatures_of_several_will_do(publisher: Publisher, keys: Keys) -> None:
    publisher.init(*NAMES)
    text = publisher.propose().file.read_bytes()
    assert publisher.complete(both=keys.clearsign(text, "alice", "carol")).version == 1


def test_publishing_with_too_few_keys_says_what_to_do(publisher: Publisher) -> None:
    publisher.init(*NAMES, home="alice", sign_key=publisher.keys["alice"])
    with pytest.raises(
        TooFewKeys, match=r"gtfs publish --propose .* gtfs sign FILE .* gtfs publish --complete"
    ) as caught:
        publisher.publish()
    assert len(str(caught.value)) < 600 and publisher.keys["alice"] in str(caught.value)


def test_where_enough_keys_are_here_publishing_signs_with_them(publisher: Publisher, keys: Keys) -> None:
    publisher.init(*NAMES, home="all", sign_key=keys["alice"])
    assert publisher.publish().version == 1
    # All three may be replaced by one, by the word of both sets.
    publisher.init("bob", threshold=1, home="all")
    assert publisher.publish().version == 2
    publisher.commit()
    publisher.init("bob", threshold=1, home="bob")
    assert publisher.publish().version == 3


def test_a_rotation_needs_both_sets(publisher: Publisher) -> None:
    publisher.init("alice", "bob")
    publisher.propose()
    publisher.complete(a=publisher.sign("alice"), b=publisher.sign("bob"))
    publisher.init("bob", "carol")
    done = publisher.propose()
    assert len(done.needed) == 2
    signed = {name: publisher.sign(name) for name in NAMES}
    for names in (("alice", "bob"), ("bob", "carol"), ("alice", "carol")):
        with pytest.raises(NotSignedEnough):
            publisher.complete(**{name: signed[name] for name in names})
    assert publisher.complete(**signed).version == 2
    publisher.commit()
    publisher.propose()
    with pytest.raises(NotSignedEnough):  # alice has left
        publisher.complete(a=publisher.keys.clearsign((publisher.out / "p").read_bytes(), "alice"))


def test_a_single_key_is_replaced_by_the_word_of_both(publisher: Publisher, keys: Keys) -> None:
    make_publisher(open_repository(publisher.bare), Wanted("demo", keys["alice"], gnupg_home=publisher.homes["alice"]))
    assert publisher.publish().version == 1
    wanted = Wanted(sign_key=keys["bob"], gnupg_home=publisher.homes["bob"])
    make_publisher(open_repository(publisher.bare), wanted)
    with pytest.raises(TooFewKeys, match=f"{keys['alice']} and by {keys['bob']}"):
        publisher.publish()
    publisher.propose()
    assert publisher.complete(a=publisher.sign("alice"), b=publisher.sign("bob")).version == 2
    publisher.commit()
    assert publisher.publish().version == 3


def test_signatures_over_another_text_or_by_others_are_refused_by_name_of_file(
    publisher: Publisher, keys: Keys
) -> None:
    publisher.init(*NAMES)
    publisher.propose()
    old = publisher.sign("alice")
    publisher.commit()
    done = publisher.propose()
    assert done.is_new and done.replaced
    with pytest.raises(NotSignedEnough, match="old signs another text"):
        publisher.complete(old=old)
    text = (publisher.out / "p").read_bytes()
    with pytest.raises(NotSignedEnough, match="bad has no signature that counts"):
        publisher.complete(bad=keys.clearsign(text, "mallory"))
    with pytest.raises(NotSignedEnough, match="plain: the document is not clear-signed"):
        publisher.complete(plain=text)
    with pytest.raises(NotSignedEnough, match="flipped"):
        publisher.complete(flipped=publisher.sign("bob").replace(b"Threshold: 2", b"Threshold: 1"))


def test_a_proposal_made_again_with_nothing_new_keeps_its_signatures(publisher: Publisher) -> None:
    publisher.init(*NAMES)
    publisher.propose()
    one = publisher.sign("alice")
    again = publisher.propose()
    assert not again.is_new and not again.replaced
    other = publisher.sign("bob")
    assert publisher.complete(a=one, b=other).version == 1
    with State(open_repository(publisher.bare)) as state:
        assert isinstance(propose(state), Published)  # nothing has changed
    assert publisher.propose(force=True).is_new


def test_a_proposal_that_others_overtook_is_refused(publisher: Publisher, keys: Keys) -> None:
    publisher.init("alice", threshold=1)
    publisher.propose()
    one = publisher.sign("alice")
    make_publisher(open_repository(publisher.bare), Wanted(gnupg_home=publisher.homes["alice"]))
    kept = (publisher.bare / "gtfs" / "proposal").read_bytes()
    publisher.commit()
    assert publisher.publish().version == 1
    with pytest.raises(BadProposal, match="has no proposal"):
        publisher.complete(a=one)
    (publisher.bare / "gtfs" / "proposal").write_bytes(kept)
    with pytest.raises(BadProposal, match="version 1 has been published since"):
        publisher.complete(a=one)


def test_refs_may_go_on_but_not_back_while_people_sign(publisher: Publisher) -> None:
    first = git(publisher.work, "rev-parse", "HEAD")
    publisher.init("alice", threshold=1)
    publisher.propose()
    second = publisher.commit()
    assert publisher.complete(a=publisher.sign("alice")).version == 1
    assert publisher.held() == (1, [first])
    publisher.propose()
    signed = publisher.sign("alice")
    git(publisher.bare, "update-ref", "refs/heads/main", first)
    with pytest.raises(BadProposal, match="refs/heads/main has gone, or left what it names"):
        publisher.complete(a=signed)
    git(publisher.bare, "update-ref", "refs/heads/main", second)
    assert publisher.complete(a=signed).version == 2
    assert publisher.held() == (2, [second])


def test_what_was_merged_for_a_proposal_is_there_when_it_is_completed(publisher: Publisher) -> None:
    publisher.init("alice", threshold=1)
    make_publisher(open_repository(publisher.bare), Wanted(gnupg_home=publisher.homes["alice"]))
    for _ in range(8):
        publisher.publish()
        tip = publisher.commit()
    done = publisher.propose()
    assert done.catalogue is not None and len(done.catalogue.reels) == 2  # eight became one
    publisher.held()  # a start between takes the merged reel away
    assert publisher.complete(a=publisher.sign("alice")).version == 9
    assert publisher.held() == (9, [tip])


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("place", "step"),
    [(proposal, "replace_file"), (publish, "keep"), (publish, "clear_up")],
    ids=lambda x: str(x)[-12:],
)
def test_a_crash_at_any_step_is_made_good_by_the_same_command(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, place: ModuleType, step: str, is_after: bool
) -> None:
    class Crash(BaseException):
        pass

    real = getattr(place, step)

    def crash(*args: object, **more: object) -> None:
        if is_after:
            real(*args, **more)
        raise Crash

    tip = git(publisher.work, "rev-parse", "HEAD")
    publisher.init(*NAMES)
    if step == "replace_file":
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(place, step, crash)
            publisher.propose()
    publisher.propose()
    signed = {"a": publisher.sign("alice"), "b": publisher.sign("bob")}
    is_done = step == "clear_up" and is_after  # all but the answer
    if step != "replace_file":
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(place, step, crash)
            publisher.complete(**signed)
    if not is_done:
        assert publisher.complete(**signed).version == 1
    assert publisher.held() == (1, [tip])
    assert not (publisher.bare / "gtfs" / "proposal").exists()


def test_signing_shows_what_changes_and_trusts_no_other_catalogue_before(
    publisher: Publisher, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    first = git(publisher.work, "rev-parse", "HEAD")
    publisher.init("alice", threshold=1)
    publisher.propose()
    publisher.complete(a=publisher.sign("alice"))
    second = publisher.commit()
    publisher.init("alice", "bob", threshold=1, policy=("refs/heads/** catalogue",))
    publisher.propose()
    capsys.readouterr()
    publisher.sign("bob")
    out = capsys.readouterr().out
    for words in (
        "repository   demo",
        "version      2, after",
        f"signers: now {keys['bob']}",
        "policy: now refs/heads/** catalogue",
        "refs         1, of which differ 1:",
        f"refs/heads/main {first} -> {second}",
        f"SHA-256      {digest((publisher.out / 'p').read_bytes())}",
    ):
        assert words in out
    before = publisher.out / "p.before"
    before.write_bytes(keys.clearsign((publisher.out / "p").read_bytes(), "alice"))
    with pytest.raises(NothingSigned, match="is not the catalogue that"):
        publisher.sign("bob")
    before.unlink()
    publisher.sign("bob")
    shown = capsys.readouterr()
    assert f"refs/heads/main at {second}" in shown.out and "all refs are shown" in shown.err


def test_nothing_is_signed_unasked_by_others_or_without_a_choice(publisher: Publisher, keys: Keys) -> None:
    publisher.init("alice", "bob", threshold=1)
    publisher.propose()
    file = publisher.out / "p"
    for key, home, sure, why in (
        (None, "alice", False, "nobody is at a terminal"),
        (None, "none", True, "the secret key of none is here"),
        (keys["mallory"], "mallory", True, "may not sign this"),
    ):
        with pytest.raises(NothingSigned, match=why):
            sign_file(file, key, publisher.homes[home], sure)
    with pytest.raises(NothingSigned, match="of several are here: give --key"):
        sign_file(file, None, keys.home, True)
    sign_file(file, keys["bob"], keys.home, True)
    (made,) = publisher.out.glob("p.*.asc")
    assert made.name == f"p.{keys['bob'][-16:]}.asc"
    with pytest.raises(NothingSigned, match="signed already"):
        sign_file(made, keys["bob"], keys.home, True)


def test_a_field_that_nobody_here_knows_is_shown_to_who_signs_it(
    publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.init("alice", threshold=1)
    text = publisher.propose().file.read_text()
    (publisher.out / "p").write_text(text + "Strange: thing\n")
    assert from_text((publisher.out / "p").read_bytes()).version == 1
    publisher.sign("alice")
    assert "strange: now thing" in capsys.readouterr().out


def test_roles_that_cannot_be_are_refused_before_anything_is_written(publisher: Publisher, keys: Keys) -> None:
    for names, threshold, more, why in (
        (("alice",), 2, {}, "--threshold 2: not a number from 1 to 1"),
        (("alice", "alice"), 2, {}, "from 1 to 1"),
        (("alice", "bob"), 1, {"sign_key": keys["carol"]}, "name them all with --signer"),
        (("alice", "bob"), 1, {"freshness_keys": (keys["bob"],)}, "it signs the catalogues"),
    ):
        with pytest.raises(BadConfig, match=why):
            publisher.init(*names, threshold=threshold, **more)
    assert not (publisher.bare / "gtfs" / "config").exists()


def test_a_rollback_by_files_of_an_older_proposal_is_refused(publisher: Publisher) -> None:
    publisher.init("alice", threshold=1)
    publisher.propose()
    first = publisher.sign("alice")
    publisher.complete(a=first)
    publisher.commit()
    publisher.propose()
    with pytest.raises((NotSignedEnough, CatalogueRefused), match="another text"):
        publisher.complete(a=first)


def test_what_several_sign_is_of_format_1_and_signers_see_what_changes_though_it_follows_one_of_format_2(
    publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.init("alice", "bob", threshold=1, home="all")
    with State(open_repository(publisher.bare)) as state:
        state.config.set("catalogueformat", "2")
    tip = git(publisher.work, "rev-parse", "HEAD")
    assert publisher.publish().version == 1
    new = publisher.commit()
    publisher.propose()
    assert from_text((publisher.out / "p").read_bytes()).refs == {b"refs/heads/main": bytes.fromhex(new)}
    with pytest.raises(NothingSigned, match=r"put them into .*/chunks, or take"):
        publisher.sign("bob")
    shutil.copytree(publisher.bare / "gtfs" / "catalogue" / "chunks", publisher.out / "chunks")
    signed = publisher.sign("bob")
    assert f"refs/heads/main {tip} -> {new}" in capsys.readouterr().out
    assert publisher.complete(bob=signed).version == 2
    assert publisher.held() == (2, [new])
    assert not publisher.publish().is_new  # of another format, and nothing else
