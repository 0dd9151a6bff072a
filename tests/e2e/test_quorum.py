# SPDX-License-Identifier: GPL-3.0-or-later
"""A release reaches a mirror only when two of three attesters have signed it off; one of these is dead, one lies."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, Key, Mount
from waiting import wait_for

NAMES = ("xena", "yves", "zoe")


@pytest.fixture
def attesters(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[dict[str, Key]]:
    made = {name: Key(keys, name) for name in NAMES}
    yield made
    for key in made.values():
        key.close()


def quorum(mirror: Mount) -> dict[str, object] | None:
    """How far the branch has come that waits, as `gtfs status --json` tells."""
    held = mirror.fresh_status()["refs_held_back"]
    return next((ref["quorum"] for ref in held if ref["ref"] == "refs/heads/main" and ref["quorum"]), None)


def test_a_release_reaches_a_mirror_after_the_second_honest_attestation(
    house: House, key: Key, attesters: dict[str, Key]
) -> None:
    honest, dead, liar = (attesters[name] for name in NAMES)
    everybody = ",".join(a.fingerprint for a in attesters.values())
    ring = house.root / "ring.gpg"
    ring.write_bytes(key.public.read_bytes() + b"".join(a.public.read_bytes() for a in attesters.values()))

    # A publisher whose policy wants two of three, and its mirrors.
    origin = house.empty("origin.git")
    release = house.commit(origin, "release 1", {"a": b"1\n"})
    policy = f"refs/heads/** catalogue threshold=2 attesters={everybody}"
    house.gtfs(
        "init", origin, "--name", "quorum", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home,
        "--policy", policy,
    )  # fmt: skip
    house.gtfs("publish", origin)
    publisher = house.mount(origin, "origin", "nodht")
    source = origin / "gtfs" / "catalogue" / "latest.asc"
    options = f"keyring={ring},signer={key.fingerprint},listen=127.0.0.1:0,nodht,peer=127.0.0.1:{publisher.port}"

    def sync(name: str, *more: str, code: int = 0) -> Path:
        repository = house.root / f"{name}.git"
        house.gtfs("sync", source, "--into", repository, "-o", ",".join([options, *more]), code=code)
        house.keep_sound(repository)
        return repository

    # Each attester is a mirror of its own; nobody has signed off yet, so its refs wait as well.
    rooms = {}
    for name, attester in attesters.items():
        rooms[name] = sync(name, code=4)
        house.gtfs(
            "init", rooms[name], "--attest", "--sign-key", attester.fingerprint, "--gnupg-home", attester.gnupg_home
        )
    said = {name: room / "gtfs" / "attestation" / "latest.asc" for name, room in rooms.items()}

    # The mirror follows all three: of the dead one nothing ever comes.
    places = house.root / "web"
    places.mkdir()
    served = {name: places / f"{name}.asc" for name in NAMES}
    mirror = house.mount(
        source, "mirror", *options.split(",listen")[0].split(","), "nodht", f"peer=127.0.0.1:{publisher.port}",
        *(f"attester={path}" for path in served.values()), "poll=1", "prefetch",
        repository=house.root / "mirror.git",
        expected=["refs? stays? where", "attester .*latest|attester .*asc", "another pack"],
    )  # fmt: skip
    wait_for(lambda: quorum(mirror), "the branch waits for sign-offs")
    found = quorum(mirror)
    assert found == {
        "needed": 2,
        "have": [],
        "missing": sorted(a.fingerprint for a in attesters.values()),
        "useless": {},
    }

    # The liar names another pack: one sign-off, which counts for nothing.
    house.gtfs("publish", rooms[liar_name := NAMES[2]])
    text = liar.gpg("--decrypt", data=said[liar_name].read_bytes())
    lie = re.sub(rb"(?m)^( [0-9a-f]{40}) [0-9a-f]{64}$", rb"\1 " + b"ab" * 32, text)
    assert lie != text
    served[liar_name].write_bytes(liar.clearsign(lie))
    wait_for(lambda: (quorum(mirror) or {}).get("useless"), "the lie is named")
    found = quorum(mirror)
    assert found is not None and found["have"] == [] and list(found["useless"]) == [liar.fingerprint]

    # The first honest one: one of two.
    house.gtfs("publish", rooms[NAMES[0]])
    shutil.copy(said[NAMES[0]], served[NAMES[0]])
    wait_for(lambda: (quorum(mirror) or {}).get("have") == [honest.fingerprint], "one sign-off counts")
    assert "refs/heads/main" not in house.refs(mirror.repository)

    # The second, long thought dead, is copied in by hand: the ref moves, without a new catalogue.
    house.gtfs("publish", rooms[NAMES[1]])
    shutil.copyfile(said[NAMES[1]], mirror.dir / ".gtfs" / "attestation.asc")
    wait_for(lambda: house.refs(mirror.repository).get("refs/heads/main") == release, "the release is here")
    wait_for(lambda: quorum(mirror) is None, "the status says so")
    assert mirror.fresh_status()["catalogue"]["version"] == 1

    # What an attester says, and what it signed off itself, is checked by plain gpg.
    dead.gpg("--verify", str(said[NAMES[1]]))
    signed = rooms[NAMES[1]] / "gtfs" / "signoffs"
    own_key = house.root / "own.asc"
    own_key.write_text(house.gtfs("keys", "--sign-off", rooms[NAMES[1]]).out)
    room = house.root / "g"
    room.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", room, "--batch"]
    house.run([*gpg, "--import", own_key])
    for file in signed.iterdir():
        house.run([*gpg, "--verify", file])
