# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose first catalogue is believed where there is nobody to ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gtfs.catalogue.accept import WrongSigner
from gtfs.ids import Fingerprint
from gtfs.remote.consent import Consent, NotConsented
from gtfs.state.firsttrust import NotFollowing

A = Fingerprint("A" * 40)


def test_without_prompts_nobody_is_asked_and_the_lines_that_would_accept_it_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    consent = Consent()
    catalogue: Any = SimpleNamespace(repository="project")
    with pytest.raises(NotConsented) as refused, consent.explained():
        assert not consent.confirm(catalogue, [(A, ["A U Thor"])])
        raise WrongSigner("nobody said so")
    assert f"gtfs.signer {A}" in str(refused.value) and "gtfs.keyring" in str(refused.value)
    assert "A U Thor" in str(refused.value)


def test_another_refusal_of_a_signer_stays_what_it_is() -> None:
    with pytest.raises(WrongSigner), Consent().explained():
        raise WrongSigner("0 of 1 needed signatures are good")


def test_a_key_that_is_not_here_is_asked_for_by_configuration() -> None:
    with pytest.raises(NotConsented, match=r"git config --global --add gtfs\.keyring FILE"), Consent().explained():
        raise NotFollowing("whose key is not here; give it with -o keyring=FILE")
