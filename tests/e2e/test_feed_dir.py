# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that a publisher keeps complete, and a web server that knows nothing of gtfs serves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from finders import nginx
from house import House, tmpfs
from seeding import seed, sync_options
from waiting import wait_for

from gtfs.catalogue.document import from_text
from gtfs.layout import Layout
from gtfs.state import feeddir
from gtfs.state.feeddir import BadFeedDirectory, write_feed
from gtfs.trust.verify import split_clearsigned


def listed(feed: Path) -> list[str]:
    """The reels that the directory's catalogue names; all that it needs must be there."""
    catalogue = from_text(split_clearsigned((feed / "latest.asc").read_bytes())[0])
    names = [str(entry.name) for entry in catalogue.reels]
    for entry in catalogue.reels:
        assert (feed / f"{entry.name}.reel").stat().st_size == entry.size
        assert (feed / f"{entry.name}.torrent").stat().st_size > 0
    return names


def test_a_mirror_needs_nothing_but_the_directory_and_a_web_server(house: House, pub: Path) -> None:
    feed, mirror = house.root / "www", house.root / "mirror.git"
    feed.mkdir()
    options = f"repo={mirror},keyring={house.key.public},listen=127.0.0.1:0,nodht"
    with nginx(house, feed) as url:
        house.gtfs("init", pub, "--feed-dir", feed, "--web-seed", url)
        house.gtfs("publish", pub)
        listed(feed)
        house.gtfs("sync", f"{url}/latest.asc", "-o", options)
        assert house.refs(mirror) == house.refs(pub)
        # What is published next is there by itself, too.
        house.commit(pub, "more", {"more": b"more\n"})
        house.gtfs("publish", pub)
        house.gtfs("sync", f"{url}/latest.asc", "-o", options)
        assert house.refs(mirror) == house.refs(pub)
    page = (feed / "index.html").read_text()
    assert f"gtfs sync {url.rstrip('/')}/latest.asc -o signer={house.key.fingerprint}" in page
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in feed.iterdir() if not p.name.startswith("."))


def test_a_server_without_ranges_serves_the_catalogue_and_peers_the_reels(house: House, pub: Path) -> None:
    feed, mirror = house.root / "www", house.root / "mirror.git"
    house.git(pub, "config", "--file", pub / "gtfs" / "config", "gtfs.catalogueformat", "2")
    house.gtfs("publish", pub, "--force", "--feed-dir", feed)
    assert list((feed / "chunks").iterdir()) != []
    words = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", feed, "0"]
    server = house.start(words)
    assert server.stdout is not None
    port = server.stdout.readline().decode().split(" port ")[1].split()[0]
    seeder = seed(house, pub)
    house.gtfs("sync", f"http://127.0.0.1:{port}/latest.asc", "-o", sync_options(house, mirror, seeder.port))
    assert house.refs(mirror) == house.refs(pub)
    assert seeder.end() == 0
    server.terminate()


def test_a_running_node_writes_what_it_publishes_and_the_hook_hears_of_it_then(house: House, pub: Path) -> None:
    feed, heard = house.root / "public_html" / "www", house.root / "heard"
    house.gtfs("init", pub, "--feed-dir", feed, "--publish", "auto")
    hook = pub / "gtfs" / "hooks" / "published"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ncmp - "$GTFS_FEED_DIR/latest.asc" && echo $GTFS_VERSION >>{heard}\n')
    hook.chmod(0o755)
    a = house.mount(pub, "A", "poll=1")
    house.commit(pub, "more", {"more": b"more\n"})
    wait_for(lambda: heard.exists() and heard.read_text().endswith("2\n"), lambda: f"written, then told; {a.text()}")
    assert (feed / "latest.asc").read_bytes() == (pub / "gtfs" / "catalogue" / "latest.asc").read_bytes()
    listed(feed)


def test_a_publish_by_hand_writes_where_it_is_told_to(house: House, pub: Path) -> None:
    feed = house.root / "www"
    house.gtfs("publish", pub, "--feed-dir", feed)
    (name,) = listed(feed)
    reel = pub / "gtfs" / "reels" / f"{name}.reel"
    assert (feed / f"{name}.reel").stat().st_ino == reel.stat().st_ino  # no second copy on the disk
    house.gtfs("fsck", pub)
    assert reel.stat().st_mode & 0o777 == 0o644 and (pub / "gtfs").stat().st_mode & 0o077 == 0


def test_on_another_file_system_reels_are_copied(house: House, pub: Path) -> None:
    with tmpfs(house.root / "other", "64m") as other:
        house.gtfs("publish", pub, "--feed-dir", other / "www")
        (name,) = listed(other / "www")
        reel = pub / "gtfs" / "reels" / f"{name}.reel"
        assert (other / "www" / f"{name}.reel").read_bytes() == reel.read_bytes()


def test_a_crash_at_any_step_leaves_the_feed_before_whole(
    house: House, pub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = house.root / "www"
    layout = Layout.in_repository(pub)
    write_feed(layout, feed)
    before = listed(feed)
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    saved = house.root / "saved"
    shutil.copytree(feed, saved)

    class Crash(BaseException):
        pass

    renames = Path.replace
    step = 0
    while True:
        left = step

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return renames(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        try:
            write_feed(layout, feed)
        except Crash:
            now = listed(feed)  # complete, whichever it is
            assert set(before) <= {p.name.removesuffix(".reel") for p in feed.glob("*.reel")} | set(now)
        else:
            break
        finally:
            monkeypatch.setattr(Path, "replace", renames)
        shutil.rmtree(feed)
        shutil.copytree(saved, feed)
        step += 1
    assert step >= 4
    assert len(listed(feed)) > len(before)
    assert not list(feed.glob(".writing-*"))


def test_what_nothing_names_any_more_goes_after_a_grace_and_other_files_stay(house: House, pub: Path) -> None:
    feed, layout = house.root / "www", Layout.in_repository(pub)
    write_feed(layout, feed, now_s=1000)
    (name,) = listed(feed)
    old, own = feed / f"{'ab' * 32}.reel", feed / "robots.txt"
    old.write_bytes(b"old")
    own.write_text("mine\n")
    write_feed(layout, feed, now_s=1000)
    write_feed(layout, feed, now_s=1000 + feeddir.GRACE_S - 1)
    assert old.exists()
    write_feed(layout, feed, now_s=1000 + feeddir.GRACE_S)
    assert not old.exists() and own.exists() and listed(feed) == [name]


@pytest.mark.parametrize("how", ["link", "another user's", "writable by all", "chunks is a link", "a file"])
def test_a_directory_that_others_can_turn_elsewhere_is_not_written_to(house: House, pub: Path, how: str) -> None:
    feed, other = house.root / "www", house.root / "other"
    other.mkdir()
    if how == "link":
        feed.symlink_to(other)
    elif how == "a file":
        feed.write_text("")
    else:
        feed.mkdir()
        if how == "another user's":
            os.chown(feed, 65534, 65534)
        elif how == "writable by all":
            feed.chmod(0o777)
        else:
            (feed / "chunks").symlink_to(other)
    with pytest.raises(BadFeedDirectory):
        write_feed(Layout.in_repository(pub), feed)
    assert list(other.iterdir()) == []
    done = house.gtfs("publish", pub, "--feed-dir", feed, code=2)
    assert str(feed) in done.line


def test_a_feed_directory_that_cannot_be_written_fails_no_publish(house: House, pub: Path) -> None:
    feed = house.root / "www"
    feed.write_text("")
    assert "name the directory itself" in house.gtfs("init", pub, "--feed-dir", feed, code=2).line
    feed.unlink()
    house.gtfs("init", pub, "--feed-dir", feed)
    shutil.rmtree(feed)
    feed.write_text("")
    house.commit(pub, "more", {"more": b"more\n"})
    done = house.gtfs("publish", pub)
    assert "version 2" in done.out and "published, but the feed directory is as it was" in done.line
    house.gtfs("init", pub, "--feed-dir", "")
    assert house.gtfs("publish", pub, "--force").err == ""


def test_a_running_node_says_that_its_feed_directory_is_not_written(house: House, pub: Path) -> None:
    feed = house.root / "www"
    house.gtfs("init", pub, "--feed-dir", feed)
    shutil.rmtree(feed)
    feed.write_text("")
    a = house.mount(pub, "A", expected=["feed-not-written"])

    def error() -> str | None:
        found: str | None = json.loads(house.gtfs("status", "--json", pub).out)["feed_error"]
        return found

    wait_for(lambda: error() is not None, lambda: f"it is said; {a.text()}")
    assert "name the directory itself" in str(error())
    assert "the feed directory is not written" in house.gtfs("status", "--check", pub, code=1).out
    feed.unlink()
    house.gtfs("publish", pub, "--force")
    assert error() is None
    listed(feed)


def test_what_a_catalogue_says_is_text_on_the_page(house: House, pub: Path) -> None:
    config = pub / "gtfs" / "config"
    feed = house.root / "www"
    house.gtfs("init", pub, "--web-seed", "http://127.0.0.1/a%22&<script>", code=None)
    subprocess.run(["git", "config", "--file", config, "gtfs.feeddir", feed], check=True)
    house.gtfs("publish", pub, "--force", code=None)
    write_feed(Layout.in_repository(pub), feed)
    page = (feed / "index.html").read_text()
    assert "<script" not in page
