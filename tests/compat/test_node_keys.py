# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a node believes: what keyring= and signer= freeze, a publisher's key as its GnuPG changes, and the clocks."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import DAY_S, NOW_S, Keys, gpg_time, now_s, shared_keys

from gtfs.catalogue.accept import FirstTrust, WrongRepository, WrongSigner, accept
from gtfs.catalogue.document import Catalogue
from gtfs.ids import SHA1, Fingerprint
from gtfs.repo.repository import GitMissing, create_repository, open_repository
from gtfs.state import publish as publish_module
from gtfs.state.firsttrust import NotFollowing, first_trust
from gtfs.state.initialise import initialise, refuse_subkeys
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven
from gtfs.trust.gnupghome import BadGnupgHome, GnupgUnusable, search_path, socket_trouble
from gtfs.trust.keyring import MissingKeyring, SubkeyNamed, freeze, load_keyrings, read_keyrings
from gtfs.trust.policy import BadPolicy, parse_policy
from gtfs.trust.sign import Signer, SigningFailed
from gtfs.trust.verify import BadSignature, verify_detached

DATA = b"data\n"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def publisher(keys: Keys, tmp_path: Path) -> Iterator[State]:
    """A repository with one commit that carol publishes; her signatures are a subkey's."""
    repository = create_repository(tmp_path / "p.git", SHA1)
    commit = b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 1\nm\n"
    stream = commit + b"M 100644 inline a\ndata 1\na\n"
    repository.git("fast-import", "--quiet", stdin=stream)
    with State(repository) as state:
        initialise(state, "demo", keys["carol"], str(keys.home))
        yield state


@pytest.fixture
def document(publisher: State) -> bytes:
    publish_now(publisher)
    return publisher.catalogues.latest.read_bytes()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[State]:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        yield state


def file_of(keys: Keys, directory: Path, *names: str) -> Path:
    path = directory / f"{'-'.join(names)}.gpg"
    path.write_bytes(b"".join(keys.export(name) for name in names))
    return path


def take(state: State, document: bytes, first: FirstTrust) -> None:
    assert state.keyring is not None
    accepted = accept(document, state.held, state.keyring, first, int(time.time()))
    state.catalogues.save(accepted)
    state.hold(accepted)


def may_sign_commits(keys: Keys, state: State, name: str) -> bool:
    assert state.keyring is not None
    try:
        return verify_detached(DATA, keys.sign(DATA, name), state.keyring, None, now_s=now_s()).primary == keys[name]
    except BadSignature:
        return False


# The first catalogue of a mirror


def test_a_keyring_of_one_key_is_its_own_answer(keys: Keys, mirror: State, document: bytes, tmp_path: Path) -> None:
    first = first_trust(mirror, TrustGiven([file_of(keys, tmp_path, "carol")]), document)
    assert first.allowed == {keys["carol"]}
    take(mirror, document, first)
    assert may_sign_commits(keys, mirror, "carol")


def test_a_first_catalogue_of_another_repository_than_was_expected_is_refused(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    rings = [file_of(keys, tmp_path, "carol")]
    with pytest.raises(WrongRepository, match="it is of demo, not of other"):
        take(mirror, document, first_trust(mirror, TrustGiven(rings, repository="other"), document))
    assert mirror.held is None
    take(mirror, document, first_trust(mirror, TrustGiven(rings, repository="demo"), document))


def test_of_a_keyring_of_many_somebody_has_to_say_who(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    rings = [file_of(keys, tmp_path, "alice", "carol")]
    with pytest.raises(WrongSigner, match=f"if so: -o signer={keys['carol']}"):
        take(mirror, document, first_trust(mirror, TrustGiven(rings), document))
    asked: list[tuple[str, list[tuple[Fingerprint, list[str]]]]] = []

    def yes(catalogue: Catalogue, signers: list[tuple[Fingerprint, list[str]]]) -> bool:
        asked.append((catalogue.repository, signers))
        return True

    take(mirror, document, first_trust(mirror, TrustGiven(rings, confirm=yes), document))
    assert asked == [("demo", [(keys["carol"], ["carol <carol@example.org>"])])]
    assert may_sign_commits(keys, mirror, "alice") and may_sign_commits(keys, mirror, "carol")


def test_who_signs_catalogues_and_who_signs_commits_can_be_said_apart(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    given = TrustGiven([file_of(keys, tmp_path, "alice", "bob")], [keys["carol"]], keys.home)
    take(mirror, document, first_trust(mirror, given, document))
    assert mirror.keyring is not None and mirror.keyring.primaries == {keys[n] for n in ("alice", "bob", "carol")}
    assert [may_sign_commits(keys, mirror, name) for name in ("alice", "bob", "carol")] == [True, True, False]
    mirror.load_keyring()  # as the next start does
    assert [may_sign_commits(keys, mirror, name) for name in ("alice", "bob", "carol")] == [True, True, False]
    with pytest.raises(WrongSigner):
        accept(document, None, mirror.keyring, FirstTrust(frozenset({keys["alice"]})), int(time.time()))


def test_a_signer_of_the_keyring_leaves_the_others_in_it(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    given = TrustGiven([file_of(keys, tmp_path, "alice", "carol")], [keys["carol"]])
    first = first_trust(mirror, given, document)
    assert first.allowed == {keys["carol"]}
    take(mirror, document, first)
    assert may_sign_commits(keys, mirror, "alice") and may_sign_commits(keys, mirror, "carol")


def test_a_signer_alone_is_found_in_gnupg_by_whole_fingerprint_only(keys: Keys, mirror: State, document: bytes) -> None:
    (subkey,) = keys.ring.keys[keys["carol"]].subkeys
    with pytest.raises(SubkeyNamed, match=keys["carol"]):
        first_trust(mirror, TrustGiven(signers=[subkey], gnupg_home=keys.home), document)
    with pytest.raises(MissingKeyring, match="no public key"):
        first_trust(mirror, TrustGiven(signers=[Fingerprint("0" * 40)], gnupg_home=keys.home), document)
    take(mirror, document, first_trust(mirror, TrustGiven(signers=[keys["carol"]], gnupg_home=keys.home), document))


def test_without_anything_given_gnupg_knows_the_signer_or_a_person_is_not_even_asked(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    empty = tmp_path / "h"
    empty.mkdir(mode=0o700)
    with pytest.raises(NotFollowing, match="-o keyring=FILE"):
        first_trust(mirror, TrustGiven(gnupg_home=empty), document)
    with pytest.raises(BadGnupgHome, match="no directory"):
        first_trust(mirror, TrustGiven(gnupg_home=tmp_path / "nowhere"), document)
    # The catalogue is signed by a subkey, and claims no more than that one's fingerprint.
    first = first_trust(mirror, TrustGiven(gnupg_home=keys.home, confirm=lambda _c, _s: True), document)
    take(mirror, document, first)


# A keyring that is given again


def test_a_mirror_keeps_who_signs_its_catalogues_when_it_gets_another_keyring(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    take(mirror, document, first_trust(mirror, TrustGiven([file_of(keys, tmp_path, "carol")]), document))
    first_trust(mirror, TrustGiven([file_of(keys, tmp_path, "bob")]), None)
    assert mirror.keyring is not None
    assert mirror.keyring.primaries == {keys["bob"], keys["carol"]}
    assert may_sign_commits(keys, mirror, "bob") and not may_sign_commits(keys, mirror, "carol")
    allowed = FirstTrust(frozenset({keys["carol"]}))
    assert accept(document, None, mirror.keyring, allowed, int(time.time())).catalogue.version == 1


def test_a_publisher_keeps_its_own_key_whatever_keyring_it_gets(
    keys: Keys, publisher: State, document: bytes, tmp_path: Path
) -> None:
    first_trust(publisher, TrustGiven([file_of(keys, tmp_path, "bob")]), None)
    assert may_sign_commits(keys, publisher, "bob") and may_sign_commits(keys, publisher, "carol")
    assert publish_now(publisher, force=True).version == 2
    publisher.load_keyring()
    assert publisher.keyring is not None and publisher.keyring.primaries == {keys["bob"], keys["carol"]}


# A publisher's key changes


class Rotating:
    """A publisher with a GnuPG of its own, whose key gets new parts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.gpg(
            "--faked-system-time", gpg_time(NOW_S - 40 * DAY_S), "--quick-gen-key", "rot", "ed25519", "cert", "never"
        )
        self.key = self.parts()[0]
        self.add("90d", NOW_S - 40 * DAY_S)

    def gpg(self, *args: str, data: bytes = b"") -> bytes:
        run = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback"]
        done = subprocess.run([*run, "--passphrase", "", *args], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def parts(self) -> list[Fingerprint]:
        listing = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        return [Fingerprint(line.split(":")[9]) for line in listing if line.startswith("fpr:")]

    def add(self, life: str, time_s: int = NOW_S - DAY_S) -> Fingerprint:
        self.gpg("--faked-system-time", gpg_time(time_s), "--quick-add-key", self.key, "ed25519", "sign", life)
        return self.parts()[-1]


@pytest.fixture
def rotating(keys: Keys) -> Iterator[Rotating]:
    home = keys.directory / "n"
    yield Rotating(home)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    subprocess.run(["rm", "-rf", str(home)], check=True)


def test_a_publishers_frozen_key_follows_its_gnupg_at_each_publish(
    keys: Keys, publisher: State, mirror: State, rotating: Rotating, tmp_path: Path
) -> None:
    initialise(publisher, "demo", rotating.key, str(rotating.home))
    assert publish_now(publisher).version == 1
    first = publisher.catalogues.latest.read_bytes()
    old_copy = tmp_path / "old.gpg"
    old_copy.write_bytes(rotating.gpg("--export", rotating.key))
    take(mirror, first, first_trust(mirror, TrustGiven([old_copy]), first))

    new_part = rotating.add("never")
    assert publish_now(publisher, force=True).version == 2
    second = publisher.catalogues.latest.read_bytes()
    assert publisher.keyring is not None and publisher.keyring.primaries == {rotating.key}
    # A mirror learns who signed and what to give.
    with pytest.raises(WrongSigner, match=rf"{new_part}: .* by {rotating.key}: .* -o keyring=FILE"):
        take(mirror, second, FirstTrust())
    new_copy = tmp_path / "new.gpg"
    new_copy.write_bytes(rotating.gpg("--export", rotating.key))
    first_trust(mirror, TrustGiven([new_copy]), None)
    take(mirror, second, FirstTrust())


def test_a_publisher_whose_gnupg_is_away_says_nothing_new_without_it(
    publisher: State, document: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.config.set("gnupghome", "/nonexistent")
    assert not publish_now(publisher).is_new
    with pytest.raises(BadGnupgHome):
        publish_now(publisher, force=True)


def test_init_names_the_primary_key_of_a_subkey(keys: Keys, publisher: State) -> None:
    (subkey,) = keys.ring.keys[keys["carol"]].subkeys
    with pytest.raises(SubkeyNamed, match=keys["carol"]):
        initialise(publisher, "demo", subkey, str(keys.home))
    line = parse_policy(f"** every-commit by={keys['alice']},{subkey}")
    with pytest.raises(BadPolicy, match=rf"{subkey} is a subkey; .* {keys['carol']}") as caught:
        refuse_subkeys(publisher, [line], keys.home)
    assert caught.value.exit_code == 2
    refuse_subkeys(publisher, [parse_policy(f"** every-commit by={keys['alice']},{'0' * 40}")], keys.home)


@pytest.mark.warns
def test_a_subkey_in_a_line_that_nobody_checked_is_said_once(
    keys: Keys, publisher: State, caplog: pytest.LogCaptureFixture
) -> None:
    (subkey,) = keys.ring.keys[keys["carol"]].subkeys
    publisher.config.set("policy", f"** every-commit by={subkey}")
    with caplog.at_level(logging.WARNING, "gtfs"):
        publisher.gate()
        publisher.gate()
    (record,) = caplog.records
    assert subkey in record.getMessage() and keys["carol"] in record.getMessage()


# Clocks


@pytest.mark.warns
def test_a_catalogue_from_a_clock_that_was_ahead_is_replaced_once_the_clock_is_right(
    keys: Keys, publisher: State, mirror: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    class Ahead:
        @staticmethod
        def time() -> float:
            return time.time() + 400 * DAY_S

    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "time", Ahead)
        assert publish_now(publisher).is_new
    caplog.clear()
    done = publish_now(publisher)
    assert done.is_new and done.version == 2
    assert "catalogue 1 is dated" in caplog.text and "2, which is signed now" in caplog.text
    document = publisher.catalogues.latest.read_bytes()
    take(mirror, document, first_trust(mirror, TrustGiven([file_of(keys, tmp_path, "carol")]), document))
    caplog.clear()
    assert not publish_now(publisher).is_new and not caplog.records


def test_a_mirror_whose_clock_is_behind_is_asked_for_it(
    keys: Keys, mirror: State, document: bytes, tmp_path: Path
) -> None:
    first = first_trust(mirror, TrustGiven([file_of(keys, tmp_path, "carol")]), document)
    assert mirror.keyring is not None
    for behind_s in (DAY_S, 60 * DAY_S, NOW_S - 1):  # the last, as a machine without a battery for its clock
        with pytest.raises(WrongSigner, match="clock"):
            accept(document, None, mirror.keyring, first, NOW_S - behind_s)


# Homes and paths


def test_a_home_of_gnupg_that_cannot_be_used_is_told_from_a_gpg_that_is_not_there(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadGnupgHome, match="no directory") as caught:
        Signer(keys["alice"], tmp_path / "nowhere")
    assert caught.value.exit_code == 2 and "install" not in str(caught.value)
    monkeypatch.setattr("gtfs.trust.gnupghome._USUAL", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GnupgUnusable, match="install the package gnupg"):
        Signer(keys["alice"], keys.home)


def test_a_home_whose_path_is_too_long_for_an_agent_is_said_to_be(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stand-ins, as the real ones may have a better place for sockets on this machine.
    gpg = 'case "$*" in *list-config*) ;; *) echo "gpg: can\'t connect to the agent: General error" >&2; exit 2;; esac'
    for name, script in (("gpg", gpg), ("gpgconf", f"echo homedir:x; echo agent-browser-socket:/{'x' * 119}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SigningFailed, match="the path of GnuPG's home is too long by 13 bytes"):
        Signer(keys["alice"], keys.home).detach_sign(b"x")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert socket_trouble(keys.home) is None
    colon = tmp_path / "a:b"
    colon.mkdir(mode=0o700)
    listing = subprocess.run(["gpgconf", "--homedir", colon, "--list-dirs", "agent-socket"], capture_output=True)
    # Where the system has a place for sockets they do not lie in the home.
    assert (socket_trouble(colon) is not None) == (b":" in listing.stdout)


def test_programs_are_looked_for_where_path_says_and_never_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"/opt/gnupg/bin:.:bin::{tmp_path}")
    assert search_path() == f"/usr/local/bin:/usr/bin:/bin:/opt/gnupg/bin:{tmp_path}"


def test_a_missing_git_is_said_to_be(publisher: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing, match="install the package git"):
        open_repository(publisher.repository.path)
    with pytest.raises(GitMissing, match="install the package git"):
        create_repository(tmp_path / "new.git", SHA1)
    program = shutil.which("git", path="/usr/bin:/bin:/usr/local/bin")
    assert program is not None
    (tmp_path / "git").symlink_to(program)
    assert open_repository(publisher.repository.path) == publisher.repository


def test_a_ring_below_a_path_with_a_colon_or_other_than_utf8_is_read(keys: Keys, tmp_path: Path) -> None:
    for name in ("example.org:8443", "a b", "d\udcff"):
        directory = tmp_path / name
        directory.mkdir()
        ring = load_keyrings([file_of(keys, directory, "alice")], directory / "ring.gpg")
        assert verify_detached(DATA, keys.sign(DATA, "alice"), ring, None, now_s=now_s()).primary == keys["alice"]


def test_a_ring_that_says_the_same_is_not_written_again(keys: Keys, tmp_path: Path) -> None:
    ring = load_keyrings([keys.public], tmp_path / "ring")
    before = ring.path.stat().st_mtime_ns, ring.path.stat().st_ino
    assert freeze(read_keyrings([keys.public]), ring.path, before=ring) == ring
    assert (ring.path.stat().st_mtime_ns, ring.path.stat().st_ino) == before


def test_a_mirror_may_ask_for_several_of_the_signers_that_it_names(keys: Keys, tmp_path: Path) -> None:
    given = TrustGiven(signers=[keys["alice"], keys["bob"]], threshold=2, gnupg_home=keys.home)
    with State(create_repository(tmp_path / "m.git", SHA1)) as mirror:
        assert first_trust(mirror, given, None).threshold == 2
        with pytest.raises(NotFollowing, match="threshold=3 wants as many"):
            first_trust(mirror, dataclasses.replace(given, threshold=3), None)
