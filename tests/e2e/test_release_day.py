# SPDX-License-Identifier: GPL-3.0-or-later
"""A release as two maintainers make it with git, on three hosts in network namespaces.

`main` is the publisher's server: a bare repository, its node, a web server, a git daemon. `mirror` follows it by a node
of its own. `desk` is where people clone, pull and push. With ``-s`` pytest prints what is typed and read on each.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gitremote import git_dir
from hosts import Host, hosts
from house import House, Key, Mount
from waiting import wait_for

PORT, NEWS_PORT = 7000, 7001
POLL_S = 5
# Serves a directory by https; its arguments: address, port, directory, certificate.
HTTPS = """
import http.server, ssl, sys
from functools import partial
address, port, directory, certificate = sys.argv[1:]
handler = partial(http.server.SimpleHTTPRequestHandler, directory=directory)
server = http.server.ThreadingHTTPServer((address, int(port)), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture
def maintainers(keys: Path) -> Iterator[dict[str, Key]]:
    made = {name: Key(keys, name) for name in ("ada", "ben")}
    yield made
    for key in made.values():
        key.close()


class Maintainer:
    """Somebody with a key and a clone, at a host."""

    def __init__(self, host: Host, key: Key, work: Path) -> None:
        self.host, self.key, self.work = host, key, work
        self.env = {"GNUPGHOME": str(key.gnupg_home)}

    def configure(self) -> None:
        for name, value in (("user.signingKey", self.key.fingerprint), ("commit.gpgSign", "true")):
            self.host.run("git", "-C", self.work, "config", name, value)

    def git(self, *words: str, code: int | None = 0) -> str:
        done = self.host.type("git", "-C", self.work, *words, env=self.env, code=code)
        return done.out + done.err

    def commit(self, name: str, *words: str) -> str:
        (self.work / name).write_text(f"{name}\n")
        self.host.run("git", "-C", self.work, "add", name)
        self.git("commit", "--quiet", "-m", f"Add {name}", *words)
        return self.host.run("git", "-C", self.work, "rev-parse", "HEAD").out.strip()


def configure_user(house: House, ring: Path, main: Host) -> None:
    """What users say once: whom they believe, and where the first peer is."""
    words = f"nolsd,nodht,peer={main.address}:{PORT},peer={main.address}:{NEWS_PORT}"
    for name, value in (("keyring", ring), ("signer", house.key.fingerprint), ("option", words)):
        house.run(["git", "config", "--global", f"gtfs.{name}", value])


def start_node(host: Host, source: object, name: str, *options: str, repository: Path | None = None) -> Mount:
    """A listen= among the options counts in the place of the usual one."""
    with host.gtfs_here():
        return host.house.mount(source, name, f"listen={host.address}:{PORT}", *options, repository=repository)


def publish_news(main: Host, pub: Path) -> Path:
    """A repository for announcements, which gtfs publishes as any other."""
    house, news = main.house, main.house.root / "news.git"
    main.type("git", "init", "--quiet", "--bare", "-b", "main", news)
    main.type("gtfs", "init", news, "--name", "news", "--sign-key", house.key.fingerprint, "--gnupg-home",
              house.key.gnupg_home, "--publish=auto")  # fmt: skip
    main.type("gtfs", "init", pub, "--announce", news)
    start_node(main, news, "N", f"listen={main.address}:{NEWS_PORT}", "nodht")
    return news


def read_news(desk: Host, news: Path, tag: str, env: dict[str, str]) -> None:
    """Clone the announcements, and have plain gpg verify the one there is."""
    house, latest = desk.house, news / "gtfs" / "catalogue" / "latest.asc"
    box = house.root / "inbox"
    wait_for(latest.exists, "the announcement was published")
    desk.type("git", "clone", "--quiet", f"gtfs::{latest}", box)
    [mail] = [path for path in box.iterdir() if path.name != ".git"]
    assert tag in desk.type("cat", mail).out
    done = desk.type("gpg", "--verify", mail, env=env)
    assert 'Good signature from "publisher <publisher@example.org>"' in done.err
    desk.type("git", "-C", box, "verify-commit", "HEAD", env=env)


def serve_https(main: Host, directory: Path, port: int) -> list[str]:
    """Serve it; gives what runs a command as on a host whose authorities know the server."""
    certificate, key = main.house.root / "certificate.pem", main.house.root / "key.pem"
    main.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=main", "-addext", f"subjectAltName=IP:{main.address}", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    both = main.house.root / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    main.serve(port, sys.executable, "-c", HTTPS, main.address, port, directory, both)
    python = Path(shutil.which("gtfs") or "").with_name("python")
    known = Path(main.run(python, "-m", "certifi").out.strip())
    bundle = main.house.root / "bundle.pem"
    bundle.write_bytes(known.read_bytes() + certificate.read_bytes())
    return ["unshare", "--mount", "sh", "-ec", 'mount --bind "$0" "$1"; shift; exec "$@"', str(bundle), str(known)]


def test_a_release_goes_from_a_signed_tag_to_every_clone(house: House, maintainers: dict[str, Key]) -> None:
    with hosts(house, "main", "mirror", "desk") as (main, mirror, desk):
        release_day(house, maintainers, main, mirror, desk)


def release_day(house: House, keys: dict[str, Key], main: Host, mirror: Host, desk: Host) -> None:
    ring = house.root / "ring.gpg"
    ring.write_bytes(b"".join(key.public.read_bytes() for key in (house.key, *keys.values())))
    ada = Maintainer(main, keys["ada"], house.root / "ada")
    ben = Maintainer(desk, keys["ben"], house.root / "ben")
    configure_user(house, ring, main)

    main.say("# The publisher: a repository, its settings, its node.")
    pub = house.root / "wiki.git"
    main.type("git", "init", "--quiet", "--bare", "-b", "main", pub)
    by = f"{ada.key.fingerprint},{ben.key.fingerprint}"
    main.type(
        "gtfs", "init", pub, "--name", "wiki", "--sign-key", house.key.fingerprint, "--gnupg-home",
        house.key.gnupg_home, "--publish=auto", "--policy", f"refs/heads/** every-commit by={by}",
        "--policy", f"refs/tags/** tag by={by}",
    )  # fmt: skip
    main.type("gtfs", "trust", pub, "add", ring)
    address = main.type("gtfs", "keys", pub).out.strip()
    news = publish_news(main, pub)
    a = start_node(main, pub, "A", f"dht_node={mirror.address}:{PORT}")
    main.serve(9418, "git", "daemon", "--export-all", "--enable=receive-pack", f"--base-path={house.root}",
               f"--listen={main.address}")  # fmt: skip
    catalogue = pub / "gtfs" / "catalogue" / "latest.asc"

    main.say("# Ada's first push.")
    main.type("git", "clone", "--quiet", pub, ada.work)
    ada.configure()
    first = ada.commit("page")
    ada.git("push", "--quiet", "origin", "HEAD")
    wait_for(lambda: catalogue.exists() and first in catalogue.read_text(), lambda: f"published; {a.text()}")
    served = catalogue.parent
    main.serve(8000, sys.executable, "-m", "http.server", "8000", "--bind", main.address, "--directory", served)
    known = serve_https(main, served, 8443)

    main.say("# The mirror follows by itself.")
    url = f"http://{main.address}:8000/latest.asc"
    whom = (f"keyring={ring}", f"signer={house.key.fingerprint}")
    following = (*whom, f"peer={main.address}:{PORT}", f"poll={POLL_S}", "prefetch")
    copy = house.root / "mirror.git"
    b = start_node(mirror, url, "B", *following, f"dht_node={main.address}:{PORT}", repository=copy)

    def mirrored(oid: str) -> None:
        wait_for(lambda: oid in house.refs(copy).values(), lambda: f"the mirror has {oid}; {b.text()}")

    mirrored(first)

    def pointed() -> None:
        """Wait until the DHT leads to what the publisher holds."""

        def is_put() -> bool:
            status = a.fresh_status()
            pointer = status["pointer"] or {}
            return bool(pointer.get("nodes")) and pointer["version"] == status["catalogue"]["version"]

        wait_for(is_put, "the pointer was put")

    main.say("# A clone by each kind of URL.")
    pointed()
    dht = f"remote.origin.gtfs-option=nolsd,nopex,dht_node={main.address}:{PORT}"
    clones: dict[str, tuple[Host, list[object], list[str]]] = {
        "path": (main, [f"gtfs::{pub}"], []),
        "file": (desk, [f"gtfs::file://{catalogue}"], []),
        "http": (desk, [f"gtfs::{url}"], []),
        "key": (desk, ["--config", dht, f"gtfs::{address}"], []),
        "host": (desk, [f"gtfs://{main.address}:8443/latest.asc"], known),
        "mirror": (mirror, [copy], []),
    }
    for name, (host, words, before) in clones.items():
        host.type("git", "clone", "--quiet", *words, house.root / name, before=before)
        assert house.git(house.root / name, "rev-parse", "HEAD") == first

    main.say("# A release.")
    second = ada.commit("release")
    typed, since = main.typed, time.monotonic()
    ada.git("tag", "-s", "-m", "Version 1", "v1")
    ada.git("push", "--quiet", "--follow-tags")
    main.say(f"# {main.typed - typed} commands typed at main, none at mirror")
    tag = house.git(ada.work, "rev-parse", "v1")
    mirrored(tag)
    mirrored(second)
    mirror.type("git", "-C", house.root / "mirror", "pull", "--quiet")
    assert house.git(house.root / "mirror", "rev-parse", "v1") == tag
    took = time.monotonic() - since
    main.say(
        f"# {took:.1f} s from git tag -s until git pull had it from the mirror, which asks its feed every {POLL_S} s"
    )
    pointed()
    for name, (host, _words, before) in clones.items():
        host.type("git", "-C", house.root / name, "pull", "--quiet", before=before)
        assert house.git(house.root / name, "rev-parse", "HEAD", "v1").split() == [second, tag]
    desk.run("gpg", "--homedir", ben.key.gnupg_home, "--batch", "--import", ring)
    done = desk.type("git", "-C", house.root / "http", "verify-tag", "v1", env=ben.env)
    assert 'Good signature from "ada <ada@example.org>"' in done.err

    main.say("# Its announcement arrives.")
    read_news(desk, news, tag, ben.env)

    main.say("# The second maintainer, from elsewhere.")
    desk.type("git", "clone", "--quiet", "-c", f"remote.origin.pushUrl=git://{main.address}/wiki.git",
              f"gtfs::{url}", ben.work)  # fmt: skip
    ben.configure()
    third = ben.commit("chapter")
    ben.git("push", "--quiet")
    mirrored(third)
    ada.git("pull", "--quiet")
    desk.type("git", "-C", house.root / "http", "pull", "--quiet")
    for repository in (ada.work, house.root / "http"):
        assert house.git(repository, "rev-parse", "HEAD") == third

    main.say("# A push that the policy refuses: git takes it at the publisher, and nobody follows.")
    a.expected += ["1 ref does not descend from where it stood", "mirrors with the keys of this node hold"]
    b.expected += ["refused by policy: the commit is not signed"]
    ben.commit("note", "--no-gpg-sign")
    ben.git("push", "--quiet")
    wait_for(lambda: "1 ref stays where it is" in b.text(), lambda: f"the mirror judged it; {b.text()}")
    held_back = "refs/heads/main: what it would move to"
    wait_for(lambda: held_back in house.gtfs("status", copy).out, "the status has looked, too")
    assert held_back in mirror.type("gtfs", "status", copy).out
    done = desk.type("git", "-C", house.root / "http", "pull")
    assert "warning: refs/heads/main: " in done.err and "the commit is not signed" in done.err
    for repository in (copy, house.root / "http"):
        assert house.git(repository, "rev-parse", "main") == third
    ben.git("commit", "--quiet", "--amend", "--no-edit")
    ben.git("push", "--quiet", "--force")
    fourth = house.git(ben.work, "rev-parse", "HEAD")
    mirrored(fourth)
    pointed()
    for name, (host, _words, before) in clones.items():
        host.type("git", "-C", house.root / name, "pull", "--quiet", before=before)
        assert house.git(house.root / name, "rev-parse", "HEAD") == fourth, name

    main.say("# Everything is sound.")
    for repository in (
        pub,
        news,
        copy,
        ada.work,
        ben.work,
        house.root / "inbox",
        *(house.root / name for name in clones),
    ):
        assert main.type("git", "-C", repository, "fsck", "--strict", "--no-dangling", "--no-progress").out == ""
        assert not list((git_dir(repository) / "objects" / "pack").glob("*.keep")), repository
    for name in ("file", "http", "key", "host", "inbox"):
        assert house.gtfs("fsck", house.root / name).err == ""
