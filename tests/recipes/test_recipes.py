# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recipe is played by its ``try``, types what its README.md says, and no more than it may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipe import NAMES, RECIPES, TYPED_IN, how_many, play, said, typed_in

# What a person types: the publisher once, a mirror once, both for a change. This is the goal, not how short the script is.
AT_MOST = {
    "push-pull": (3, 2, 2),
    "unattended-signing": (5, 2, 1),
    "shared-push": (9, 2, 2),
    "ikiwiki": (5, 4, 1),
    "bug-tracker": (5, 4, 1),
    "public-inbox": (4, 3, 0),
    "source-packages": (3, 2, 2),
    "deb-archive": (4, 4, 2),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_played_as_it_says(name: str, programs: Path) -> None:
    out = play(name, programs)
    assert typed_in(out) == {(who, command) for _, who, command in said(name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_a_page_of_one_screen(name: str) -> None:
    text = (RECIPES / name / "README.md").read_text()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == (*TYPED_IN, "What to know")
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 120
    assert f"[{name}]({name})" in (RECIPES / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_asks_for_no_more_typing_than_it_may(name: str) -> None:
    found = how_many(name)
    assert all(typed <= allowed for typed, allowed in zip(found, AT_MOST[name], strict=True)), found
