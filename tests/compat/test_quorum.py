# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs that wait for the sign-offs of attesters, with real signatures: who counts, when, and for what."""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from history import History
from keys import DAY_S, YEAR_S, Keys, now_s, shared_keys

from gtfs.catalogue.statementstore import DamagedStore
from gtfs.ids import Fingerprint, ObjectId, PackDigest
from gtfs.ingest.quorum import Quorum
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refmoves import RefReport, follow_refs, survey_refs, verified_refs
from gtfs.state import collected
from gtfs.state.collected import AttestationStore, Expected, TwoPacks
from gtfs.state.initialise import say_who_is_missing
from gtfs.state.state import State
from gtfs.trust.attestation import Attestation, AttestationRefused
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import parse_policy

OURS = "cd" * 32  # the digest of the catalogue that the mirror holds, version 3


class Mirror:
    """A mirror with a chain of three commits and a tag, all verified, that waits for sign-offs."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.keys = keys
        self.history = History(path, keys)
        self.state = State(self.history.repository)
        self.ring: Keyring = keys.ring
        self.chain = self.history.chain(3)
        self.tag = self.history.tag(self.chain[2], "v1")
        self.history.ref("refs/made/tag", self.tag)
        self.state.take_up()
        self.history.ref("refs/made/tag", None)
        self.store = AttestationStore(self.state.layout.attestations)
        self.line = f"** catalogue threshold=2 attesters={keys['alice']},{keys['bob']},{keys['carol']}"
        self.local: list[str] = []

    @property
    def expected(self) -> Expected:
        return Expected(self.ring, None, "demo", lambda version: OURS if version == 3 else None)

    @property
    def demands(self) -> Demands:
        local, theirs = [parse_policy(text) for text in self.local], [parse_policy(self.line)]
        return Demands(local, theirs, self.ring, lambda: self.store.verified(self.expected))

    def digest(self, oid: ObjectId) -> PackDigest:
        row = self.state.index.packs.get(oid)
        assert row is not None and row.digest is not None
        return row.digest

    def statement(self, *oids: ObjectId, age_s: int = 60, **changes: object) -> Attestation:
        packs = {oid: self.digest(oid) for oid in oids}
        refs = {b"refs/heads/r%d" % n: oid for n, oid in enumerate(oids)}
        date_s = now_s() - age_s
        said = Attestation("demo", 3, OURS, date_s, date_s + 30 * DAY_S, refs, packs)
        return dataclasses.replace(said, **changes)  # type: ignore[arg-type]

    def says(self, who: str, *oids: ObjectId, age_s: int = 60, **changes: object) -> bytes:
        return self.keys.clearsign(self.statement(*oids, age_s=age_s, **changes).to_text().encode(), who)

    def hear(self, who: str, *oids: ObjectId, age_s: int = 60, **changes: object) -> bool:
        return self.store.take(self.says(who, *oids, age_s=age_s, **changes), self.expected)

    def follow(self, oid: ObjectId | None = None) -> RefReport:
        repository, index = self.state.repository, self.state.index
        return follow_refs(repository, index, {b"refs/heads/main": oid or self.chain[2]}, None, self.demands)

    def quorum(self, oid: ObjectId | None = None) -> Quorum:
        report = self.follow(oid)
        assert report.moved == 0
        found = report.quorums[b"refs/heads/main"]
        assert report.held_back == {b"refs/heads/main": found.reason}
        return found


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "m.git", shared_keys())
    yield made
    made.state.__exit__(None, None, None)


@pytest.fixture
def own_keys() -> Iterator[Keys]:
    """Keys that the test may change."""
    made = Keys(Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp")))
    yield made
    made.close()


def names(mirror: Mirror, *who: str) -> tuple[Fingerprint, ...]:
    return tuple(sorted(mirror.keys[name] for name in who))


# -- who signed off -------------------------------------------------------------------------------------------------


def test_a_ref_moves_once_as_many_attesters_have_signed_off_as_the_policy_wants(mirror: Mirror) -> None:
    alice, bob, carol = names(mirror, "alice", "bob", "carol")
    none = mirror.quorum()
    assert none == Quorum(2, (), (alice, bob, carol))
    assert none.reason == f"0 of 2 sign-offs: has none; waits for 2 of {alice}, {bob}, {carol}"
    assert mirror.hear("alice", mirror.chain[2])
    one = mirror.quorum()
    assert (one.needed, one.have, one.missing) == (2, names(mirror, "alice"), names(mirror, "bob", "carol"))
    assert f"1 of 2 sign-offs: has {mirror.keys['alice']}; waits for one of " in one.reason
    assert mirror.hear("bob", mirror.chain[2])
    assert mirror.follow().moved == 1


def test_the_same_document_again_is_no_news_and_counts_once(mirror: Mirror) -> None:
    document = mirror.says("alice", mirror.chain[2])
    assert mirror.store.take(document, mirror.expected) and not mirror.store.take(document, mirror.expected)
    assert mirror.quorum().have == names(mirror, "alice")


def test_a_key_and_its_subkey_count_once(own_keys: Keys, tmp_path: Path) -> None:
    own_keys.gpg("--quick-add-key", own_keys["alice"], "ed25519", "sign", "never")
    listing = own_keys.gpg("--list-keys", "--with-colons", own_keys["alice"]).decode().splitlines()
    primary, subkey = (line.split(":")[9] for line in listing if line.startswith("fpr:"))
    (tmp_path / "k.gpg").write_bytes(own_keys.export("alice", "bob", "carol"))
    mirror = Mirror(tmp_path / "m.git", own_keys)
    with mirror.state:
        mirror.ring = own_keys.keyring("r.gpg", tmp_path / "k.gpg")
        for number, key in enumerate((primary, subkey)):
            text = mirror.statement(mirror.chain[2], age_s=60 - number).to_text().encode()
            exactly = ("--local-user", key + "!")
            assert mirror.store.take(own_keys.sign(text, how="--clearsign", options=exactly), mirror.expected)
            assert mirror.quorum().have == (own_keys["alice"],)
        assert {path.name[:40] for path in mirror.store.directory.iterdir()} == {primary}


def test_who_is_no_attester_of_the_line_does_not_count(mirror: Mirror) -> None:
    mirror.line = f"** catalogue threshold=2 attesters={mirror.keys['alice']},{mirror.keys['bob']}"
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("carol", mirror.chain[2])
    assert mirror.quorum() == Quorum(2, names(mirror, "alice"), names(mirror, "bob"))


def test_without_attesters_every_key_of_the_ring_counts_but_those_for_catalogues(mirror: Mirror) -> None:
    mirror.line = "** catalogue threshold=2"
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2])
    mirror.ring = mirror.keys.ring.with_named_only([mirror.keys["bob"]])
    assert mirror.quorum().have == names(mirror, "alice")
    mirror.ring = mirror.keys.ring
    assert mirror.follow().moved == 1


def test_a_stranger_and_two_hands_on_one_document_are_refused(mirror: Mirror) -> None:
    with pytest.raises(AttestationRefused, match="not in the keyring"):
        mirror.hear("mallory", mirror.chain[2])
    text = mirror.statement(mirror.chain[2]).to_text().encode()
    with pytest.raises(AttestationRefused, match="one attester signs one"):
        mirror.store.take(mirror.keys.clearsign(text, "alice", "bob"), mirror.expected)
    assert not mirror.store.directory.exists()


def test_an_expired_attester_is_refused(mirror: Mirror) -> None:
    text = mirror.statement(mirror.chain[2]).to_text().encode()
    made_s = now_s() - 3 * YEAR_S + 3600  # gpg signs with no expired key, unless it is told another time
    document = mirror.keys.clearsign(text, "expired", time_s=made_s)
    with pytest.raises(AttestationRefused, match="expired"):
        mirror.store.take(document, mirror.expected)


def test_an_attester_that_is_revoked_later_counts_no_more(own_keys: Keys, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", own_keys)
    with mirror.state:
        assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2])
        own_keys._revoke("bob")
        (tmp_path / "k.gpg").write_bytes(own_keys.export("alice", "bob", "carol"))
        mirror.ring = own_keys.keyring("r.gpg", tmp_path / "k.gpg")
        found = mirror.quorum()
        assert found.have == (own_keys["alice"],)
        assert "revoked" in found.useless[own_keys["bob"]]


def test_an_attester_that_leaves_the_ring_counts_no_more(mirror: Mirror, tmp_path: Path) -> None:
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2])
    (tmp_path / "k.gpg").write_bytes(mirror.keys.export("alice", "carol"))
    mirror.ring = mirror.keys.keyring("left.gpg", tmp_path / "k.gpg")
    assert mirror.quorum() == Quorum(2, names(mirror, "alice"), names(mirror, "carol"))


def test_what_was_taken_by_a_clock_that_was_ahead_gives_way_to_what_is_said_now(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + 10 * DAY_S)
        early = mirror.statement(mirror.chain[2], date_s=now_s(), valid_until_s=now_s() + DAY_S)
        assert mirror.store.take(mirror.keys.clearsign(early.to_text().encode(), "alice"), mirror.expected)
    assert "has not come" in mirror.quorum().useless[mirror.keys["alice"]]
    assert mirror.hear("alice", mirror.chain[2])
    assert mirror.quorum().have == names(mirror, "alice")
    with pytest.raises(AttestationRefused, match="no newer"):
        mirror.hear("alice", mirror.chain[2], age_s=90)


# -- what was signed off --------------------------------------------------------------------------------------------


def test_what_an_attested_commit_descends_from_is_signed_off_and_what_comes_after_is_not(mirror: Mirror) -> None:
    for who in ("alice", "bob"):
        assert mirror.hear(who, mirror.chain[1])
    assert mirror.quorum(mirror.chain[2]).have == ()
    assert mirror.follow(mirror.chain[0]).moved == 1


def test_a_tag_object_is_signed_off_by_its_own_pack_only(mirror: Mirror) -> None:
    def tag() -> RefReport:
        wanted = {b"refs/tags/v1": mirror.tag}
        return follow_refs(mirror.state.repository, mirror.state.index, wanted, None, mirror.demands)

    for who in ("alice", "bob"):
        assert mirror.hear(who, mirror.chain[2])
    assert tag().quorums[b"refs/tags/v1"].have == ()
    for who in ("alice", "bob"):
        assert mirror.hear(who, mirror.chain[2], mirror.tag, age_s=30)
    assert tag().moved == 1


def test_who_names_another_pack_counts_for_nothing_and_is_named(mirror: Mirror) -> None:
    wrong = {oid: mirror.digest(oid) for oid in mirror.chain} | {mirror.chain[0]: PackDigest(b"\x09" * 32)}
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2], packs=wrong)
    found = mirror.quorum()
    assert found.have == names(mirror, "alice")
    assert found.useless == {mirror.keys["bob"]: f"names another pack of {mirror.chain[0].hex()} than this node has"}
    assert f"{mirror.keys['bob']}: names another pack" in found.reason
    assert mirror.hear("carol", mirror.chain[2])
    assert mirror.follow().moved == 1


@pytest.mark.warns
def test_who_signed_two_packs_of_one_commit_counts_no_more_and_both_documents_are_kept(mirror: Mirror) -> None:
    other = {mirror.chain[2]: PackDigest(b"\x09" * 32)}
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2])
    lie = mirror.says("bob", mirror.chain[2], age_s=30, packs=other)
    for _ in range(2):
        with pytest.raises(TwoPacks, match="signed two packs"):
            mirror.store.take(lie, mirror.expected)
    (paths,) = mirror.store.evidence().values()
    assert len(paths) == 2 and lie in [path.read_bytes() for path in paths]
    found = mirror.quorum()
    assert found.have == names(mirror, "alice") and "signed two packs" in found.useless[mirror.keys["bob"]]
    # An honest word afterwards does not undo it; only the user does.
    assert mirror.hear("bob", mirror.chain[2], age_s=10)
    assert mirror.quorum().have == names(mirror, "alice")
    for path in paths:
        path.unlink()
    assert mirror.follow().moved == 1


@pytest.mark.warns
def test_evidence_that_cannot_be_looked_at_just_now_counts_on(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {mirror.chain[2]: PackDigest(b"\x09" * 32)}
    assert mirror.hear("alice", mirror.chain[2]) and mirror.hear("bob", mirror.chain[2])
    lie = mirror.says("bob", mirror.chain[2], age_s=30, packs=other)
    read = collected._read

    def fails(path: Path) -> bytes:
        if "two-packs" in path.name or path.name == f"{mirror.keys['bob']}.asc":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    with monkeypatch.context() as patched:  # what he said before cannot be compared with: nothing takes its place
        patched.setattr(collected, "_read", fails)
        with pytest.raises(OSError, match="Input/output"):
            mirror.store.take(lie, mirror.expected)
    with pytest.raises(TwoPacks):
        mirror.store.take(lie, mirror.expected)

    def fails_evidence(path: Path) -> bytes:
        return fails(path) if "two-packs" in path.name else read(path)

    monkeypatch.setattr(collected, "_read", fails_evidence)
    found = mirror.quorum()
    assert found.have == names(mirror, "alice") and "cannot be looked at" in found.useless[mirror.keys["bob"]]


@pytest.mark.warns
def test_two_packs_are_found_with_other_attestations_between(mirror: Mirror) -> None:
    other = {mirror.chain[2]: PackDigest(b"\x09" * 32)}
    assert mirror.hear("bob", mirror.chain[2], age_s=90)
    for age_s in range(80, 72, -1):
        assert mirror.hear("bob", mirror.chain[1], age_s=age_s)
    with pytest.raises(TwoPacks, match="signed two packs"):
        mirror.hear("bob", mirror.chain[2], age_s=30, packs=other)
    assert len(mirror.store.evidence()[mirror.keys["bob"]]) == 2


def test_of_what_an_attester_said_before_only_the_last_few_are_kept(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> list[int]:
        found = sorted(path.name for path in mirror.store.directory.iterdir() if "-until-" in path.name)
        assert len(list(mirror.store.directory.iterdir())) == len(found) + 1
        return [now - int(name.split("-")[-1].removesuffix(".asc")) for name in found]

    now = now_s()
    for age_s in range(100, 85, -1):
        date_s = now - age_s
        assert mirror.hear("bob", mirror.chain[1], date_s=date_s, valid_until_s=date_s + DAY_S)
    assert kept() == list(range(94, 86, -1))
    monkeypatch.setattr(collected, "_OLDER_BYTES", 2 * len(mirror.says("bob", mirror.chain[1])) + 10)
    assert mirror.hear("bob", mirror.chain[1], date_s=now, valid_until_s=now + DAY_S)
    assert kept() == [87, 86]


@pytest.mark.warns
def test_a_ring_with_fewer_attesters_than_a_line_waits_for_is_told(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    for line, words in (
        (f"** catalogue threshold=2 attesters={mirror.keys['alice']},{mirror.keys['mallory']}", "has 1 of the 2"),
        ("refs/tags/** tag threshold=9", "has 5 of the 9"),
        (f"** catalogue threshold=2 attesters={mirror.keys['alice']},{mirror.keys['bob']}", ""),
    ):
        caplog.clear()
        say_who_is_missing([parse_policy(line)], mirror.ring)
        assert words in caplog.text and bool(words) == bool(caplog.records)


def test_two_files_that_are_no_evidence_accuse_nobody(mirror: Mirror) -> None:
    for who in ("alice", "bob"):
        mirror.hear(who, mirror.chain[2])
    bob, honest = mirror.keys["bob"], mirror.says("bob", mirror.chain[2], age_s=30)
    for number, document in enumerate((honest, mirror.says("mallory", mirror.chain[2]))):
        (mirror.store.directory / f"{bob}-two-packs-{number:016x}.asc").write_bytes(document)
    assert mirror.follow().moved == 1


# -- attacks on the documents ---------------------------------------------------------------------------------------


def test_an_old_attestation_offered_again_does_not_take_the_place_of_a_newer(mirror: Mirror) -> None:
    old = mirror.says("alice", mirror.chain[2], age_s=3600)
    assert mirror.store.take(old, mirror.expected)
    assert mirror.hear("alice", mirror.chain[1])  # what it said of the last one is not said any more
    with pytest.raises(AttestationRefused, match="no newer"):
        mirror.store.take(old, mirror.expected)
    assert mirror.quorum(mirror.chain[2]).have == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repository": "other"}, "it is about other, not about demo"),
        ({"date_s": now_s() + 3600}, "has not come"),
        ({"date_s": now_s() - 7200, "valid_until_s": now_s() - 3600}, "past its Valid-Until"),
        ({"catalogue": "ef" * 32}, "another catalogue of version 3"),
    ],
)
def test_what_is_not_about_this_repository_and_this_time_is_refused(
    mirror: Mirror, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(AttestationRefused, match=why):
        mirror.hear("alice", mirror.chain[2], **changes)
    # Nor does it count where it lies already, as what was kept is a hint.
    mirror.store.directory.mkdir()
    path = mirror.store.directory / f"{mirror.keys['alice']}.asc"
    path.write_bytes(mirror.says("alice", mirror.chain[2], **changes))
    found = mirror.quorum()
    assert found.have == () and why in found.useless[mirror.keys["alice"]]


def test_a_damaged_old_catalogue_spoils_only_what_is_said_of_its_version(mirror: Mirror) -> None:
    mirror.hear("alice", mirror.chain[2], version=2)
    mirror.hear("bob", mirror.chain[2])

    def digest_of(version: int) -> str:
        if version == 2:
            raise DamagedStore(Path("2.asc"), "cut off")
        return OURS

    found = mirror.store.verified(mirror.expected._replace(catalogue_digest=digest_of))
    assert set(found.good) == {mirror.keys["bob"]}
    assert "2.asc is damaged" in found.useless[mirror.keys["alice"]]


def test_a_kept_file_counts_for_nobody_but_who_signed_it(mirror: Mirror) -> None:
    assert mirror.hear("alice", mirror.chain[2])
    alice, bob = (mirror.store.directory / f"{mirror.keys[who]}.asc" for who in ("alice", "bob"))
    bob.write_bytes(alice.read_bytes())
    assert mirror.quorum().have == names(mirror, "alice")


def test_a_signed_attestation_with_any_byte_changed_says_nothing_else(mirror: Mirror) -> None:
    text = mirror.statement(mirror.chain[2]).to_text().encode()
    document = mirror.keys.clearsign(text, "alice")
    begin = document.index(b"Format:")  # what stands before it is not signed, and means nothing to gtfs
    accepted = []
    for at in range(begin, len(document)):
        for bit in (1, 0x20, 0x80):
            changed = bytearray(document)
            changed[at] ^= bit
            try:
                mirror.store.take(bytes(changed), mirror.expected)
            except AttestationRefused:
                continue
            accepted.append((at, bit))
    assert accepted == []


# -- policies -------------------------------------------------------------------------------------------------------


def test_a_threshold_that_is_raised_locally_counts(mirror: Mirror) -> None:
    for who in ("alice", "bob"):
        assert mirror.hear(who, mirror.chain[2])
    mirror.local = ["** catalogue threshold=3"]
    assert mirror.quorum().needed == 3
    mirror.local = [f"** catalogue attesters={mirror.keys['alice']}"]
    assert mirror.quorum().reason.endswith("no more than 1 attesters count here")
    mirror.local = ["** catalogue threshold=1"]  # a lower one loosens nothing
    assert mirror.follow().moved == 1


def test_who_waits_for_a_quorum_meets_everything_else(mirror: Mirror) -> None:
    mirror.line = mirror.line.replace("** catalogue", "** every-commit")
    report = mirror.follow()
    assert report.quorums == {} and "is not signed" in report.held_back[b"refs/heads/main"]


def test_an_attester_verifies_what_waits_for_sign_offs_and_not_what_is_refused(mirror: Mirror) -> None:
    wanted = {b"refs/heads/main": mirror.chain[2], b"refs/tags/v1": mirror.tag}
    repository, index = mirror.state.repository, mirror.state.index
    assert verified_refs(repository, index, wanted, mirror.demands) == wanted
    # Where it stands already, it is judged all the same.
    mirror.history.ref("refs/tags/v1", mirror.tag)
    mirror.local = ["refs/tags/** tag"]
    assert verified_refs(repository, index, wanted, mirror.demands) == {b"refs/heads/main": mirror.chain[2]}


def test_the_survey_tells_the_quorum_as_a_value(mirror: Mirror) -> None:
    assert mirror.hear("carol", mirror.chain[2])
    wanted = {b"refs/heads/main": mirror.chain[2]}
    (found,) = survey_refs(mirror.state.repository, mirror.state.index, wanted, mirror.demands)
    assert found.quorum is not None and found.quorum.have == names(mirror, "carol") and not found.sync_helps
