# SPDX-License-Identifier: GPL-3.0-or-later
"""What git's configuration says to the helper."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.remote.settings import BadSetting, settings_of

A, B = "A" * 40, "B" * 40


def said(*items: tuple[str, str | None]) -> bytes:
    return b"".join(key.encode() + (b"" if v is None else b"\n" + v.encode()) + b"\0" for key, v in items)


def test_nothing_said_is_the_defaults() -> None:
    found = settings_of("origin", b"")
    assert (found.trust.keyrings, found.trust.signers, found.keeps_reels, found.own_trust) == ((), (), False, None)


def test_a_key_of_the_remote_stands_in_the_place_of_the_general_one_and_of_no_other() -> None:
    found = settings_of(
        "up",
        said(
            ("gtfs.signer", A), ("gtfs.keyring", "/a,b\\.gpg"), ("remote.up.gtfs-signer", B),
            ("remote.other.gtfs-keyring", "/no"),
        ),
    )  # fmt: skip
    assert found.trust.signers == (B,)
    assert found.trust.keyrings == (Path("/a,b\\.gpg"),)
    assert found.own_trust == "remote.up.gtfs-signer"


def test_option_holds_words_of_o_any_number_of_times() -> None:
    found = settings_of("o", said(("gtfs.option", "nodht,upload_rate=7"), ("gtfs.option", "nolsd")))
    assert (found.node.swarm.dht, found.node.swarm.lsd, found.node.swarm.upload_rate) == (False, False, 7)


@pytest.mark.parametrize(("value", "keeps"), [(None, True), ("yes", True), ("False", False), ("0", False)])
def test_keep_reels_is_a_truth_value_of_git(value: str | None, keeps: bool) -> None:
    assert settings_of("o", said(("gtfs.keepreels", value))).keeps_reels is keeps


def test_keep_reels_that_is_none_is_refused() -> None:
    with pytest.raises(BadSetting):
        settings_of("o", said(("gtfs.keepreels", "perhaps")))


def test_a_remote_whose_name_has_dots_has_keys_of_its_own() -> None:
    assert settings_of("a.b", said(("remote.a.b.gtfs-signer", A))).trust.signers == (A,)
