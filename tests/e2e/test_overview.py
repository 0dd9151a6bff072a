# SPDX-License-Identifier: GPL-3.0-or-later
"""How repositories fare: on a terminal, for monitors, and on the page of running nodes, as browsers get it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from house import House
from ports import free_port
from seeding import seed
from test_daemon import start
from waiting import WAIT_S, wait_for

URL = re.compile(r"^how they fare: (http://127\.0\.0\.1:(\d+)/)$", re.MULTILINE)


class Site:
    """What a ``gtfs seed`` serves that says where in its log."""

    def __init__(self, log: Path) -> None:
        found = wait_for(lambda: URL.search(log.read_text()), "the overview is served")
        self.url, self.port = found[1], int(found[2])

    def talk(self, said: bytes) -> bytes:
        """Everything that is answered, until the other side hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as s:
            s.sendall(said)
            answer = b""
            while data := s.recv(1 << 16):
                answer += data
        return answer

    def get(self, path: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str, bytes]:
        """Status, head and body."""
        answer = self.talk(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head.decode(), body

    def status(self) -> Any:
        return json.loads(self.get("/status.json")[2])


def several(house: House, published: Path, count: int = 3) -> list[Path]:
    """Repositories as the publisher's, each of its own place."""
    made = [house.root / f"p{n}.git" for n in range(count)]
    for path in made:
        shutil.copytree(published, path)
    house.keep_sound(*made)
    return made


@pytest.fixture
def site(house: House, published: Path) -> Site:
    return Site(seed(house, *several(house, published), options="status=0").log)


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


# -- the command ------------------------------------------------------------------------------------------------------


def test_status_of_several_has_a_line_for_each_and_what_monitors_read(house: House, published: Path) -> None:
    first, second = several(house, published, 2)
    lines = house.gtfs("status", first, second, house.root / "none.git").out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "…/none.git", "project", "project"]
    assert "unreachable: " in lines[1] and all(line.endswith(" -") for line in lines[2:])
    found = house.gtfs("status", "--json", first, second).json()
    assert [(one["name"], one["standing"]) for one in found] == [("project", "fresh"), ("project (2)", "fresh")]
    text = house.gtfs("status", "--prometheus", first).out
    assert 'gtfs_repository_standing{repository="project",standing="fresh"} 1\n' in text
    assert house.gtfs("status", "--json", first).json()["repository"] == str(first)  # of one all of it


def test_the_exit_code_of_check_is_for_a_monitor(house: House, published: Path) -> None:
    first, second = several(house, published, 2)
    assert house.gtfs("status", "--check", first, second).out.startswith(
        "GTFS OK - 2 repositories are fresh | fresh=2 "
    )
    old = house.gtfs("status", "--check", "--max-age", "0", first, code=1).out
    assert old.startswith("GTFS WARNING - project is lagging: the newest catalogue is ")
    away = house.gtfs("status", "--check", first, house.root / "none.git", code=3).out
    assert away.startswith("GTFS UNKNOWN - ") and "1 repository is fresh" in away
    house.forgive(second)
    (second / "gtfs" / "catalogue" / "1.asc").write_bytes(b"torn")
    bad = house.gtfs("status", "--check", first, second, house.root / "none.git", code=2).out
    assert bad.startswith("GTFS CRITICAL - ") and " is damaged: " in bad and len(bad.splitlines()) == 1
    assert "exclude each other" in house.gtfs("status", "--check", "--json", first, code=2).err
    assert house.gtfs("status", "--check", "--max-lag", "soon", first, code=2).line.startswith("gtfs: --max-lag=soon: ")


def test_a_mirror_whose_refs_are_behind_lags_once_that_lasts(house: House, pub: Path) -> None:
    publisher = house.mount(pub, "A")
    mirror = house.mount_mirror(publisher, "B")  # which has the catalogue, and fetches nothing by itself
    assert house.gtfs("status", "--check", mirror.dir).out.startswith("GTFS OK")
    lagging = wait_for(
        lambda: (
            found
            if "WARNING" in (found := house.gtfs("status", "--check", "--max-lag", "0", mirror.dir, code=None).out)
            else ""
        ),
        "refs are behind for a second",
    )
    assert " refs are behind for " in lagging and lagging.startswith("GTFS WARNING")
    house.gtfs("sync", mirror.dir)
    assert house.gtfs("status", "--check", "--max-lag", "0", mirror.dir).out.startswith("GTFS OK")
    (one, _) = house.gtfs("status", "--json", mirror.dir, publisher.dir).json()
    assert (one["lag"], one["held_back"], one["publishes"][0]["version"]) == (0, 0, 1)


def test_a_node_that_does_not_answer_hangs_no_monitor(house: House, pub: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(pub / "gtfs", os.O_PATH)
    listener.bind(f"/proc/self/fd/{here}/control")
    os.close(here)
    listener.listen()  # and nobody accepts
    said = house.gtfs("status", "--check", pub, code=3).out
    assert "its node did not answer within 30 s" in said
    listener.close()


# -- the server -------------------------------------------------------------------------------------------------------


def test_page_metrics_and_json_say_the_same_and_nothing_private(site: Site, house: House) -> None:
    kinds = {"/": "text/html; charset=utf-8", "/metrics": "text/plain; version=0.0.4; charset=utf-8"}
    kinds |= {"/status.json": "application/json", "/style.css": "text/css; charset=utf-8"}
    kinds |= {"/live.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml"}
    for path, kind in kinds.items():
        code, head, body = site.get(path)
        assert code == 200 and f"\r\nContent-Type: {kind}\r\n" in head and body
        for line in ("default-src 'none'", "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer"):
            assert line in head
        assert str(house.root).encode() not in body
        assert site.get(path, method="HEAD")[2] == b""
    found = site.status()
    assert [one["standing"] for one in found["repositories"]] == ["fresh"] * 3
    assert all(one["reels_whole"] == one["reels"] == len(one["swarm"]) for one in found["repositories"])
    assert len(found["traffic"]) == 288
    page = site.get("/")[2].decode()
    names = [one["name"] for one in found["repositories"]]
    assert names == ["project", "project (2)", "project (3)"] and all(f">{name}</a>" in page for name in names)


BAD = [
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nquit", 405),
    (b"DELETE /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    (b"GET / HTTP/1.0\r\n\r\n", 421),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421),
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET /web/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", 413),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"\0" * 100_000, 400),
]


def test_bad_requests_get_an_answer_and_end_nothing(site: Site) -> None:
    for said, status in BAD:
        assert site.talk(said).startswith(b"HTTP/1.1 %d " % status), said[:100]
        assert site.get("/")[0] == 200


def test_a_thousand_asks_on_a_few_connections_are_answered(site: Site) -> None:
    ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(10):
        assert site.talk(ask * 100).count(b"HTTP/1.1 200 OK") == 100


def test_those_who_keep_connections_open_and_say_nothing_take_few(site: Site) -> None:
    silent = [socket.create_connection(("127.0.0.1", site.port), WAIT_S) for _ in range(64)]
    try:
        for s in silent[:1]:
            s.sendall(b"GET / HTTP/1.1\r\n")
        said = wait_for(lambda: b"HTTP/1.1 503 " in (said := site.talk(b"")) and said, "there is no room")
        assert b"too many connections" in said
        # Their time is over by itself.
        wait_for(lambda: site.get("/")[0] == 200, "there is room again")
        assert silent[0].recv(100).startswith(b"HTTP/1.1 408 ")
    finally:
        for s in silent:
            s.close()


ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    print(s.recv(12).decode())
"""


def test_another_user_of_this_machine_reads_only_if_he_is_let_in(house: House, pub: Path) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", ASK]
    seeder = seed(house, pub, options="status=0")
    site = Site(seeder.log)
    assert house.run([*nobody, site.port]).out == "HTTP/1.1 403\n"
    assert house.run([sys.executable, "-c", ASK, site.port]).out == "HTTP/1.1 200\n"
    assert seeder.end() == 0
    open_site = Site(seed(house, pub, options="status=127.0.0.1:0,status_user=nobody").log)
    assert house.run([*nobody, open_site.port]).out == "HTTP/1.1 200\n"


def test_a_port_that_is_taken_is_told_before_anything_stands(house: House, pub: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        line = f"gtfs: status=127.0.0.1:{port}: the port is in use; name another"
        assert house.gtfs("seed", pub, "-o", f"status={port}", code=2).line == line
        (house.root / "m").mkdir()
        for words in ((), ("-f",)):
            options = f"listen=127.0.0.1:0,nodht,nolsd,status={port}"
            assert house.gtfs("mount", *words, pub, house.root / "m", "-o", options, code=2).line == line
        assert os.listdir(house.root / "m") == []
    said = house.gtfs("seed", pub, "-o", "status=192.0.2.1:80", code=2).line
    assert said == "gtfs: status=192.0.2.1:80: Cannot assign requested address"
    for bad in ("x", "localhost:1", "65536", "1.2.3.4:"):
        line = house.gtfs("seed", pub, "-o", f"status={bad}", code=2).line
        assert line.startswith(f"gtfs: status={bad}: not PORT or ADDRESS:PORT")
    assert "stands in brackets" in house.gtfs("seed", pub, "-o", "status=::1:80", code=2).line
    assert "there is no such user" in house.gtfs("seed", pub, "-o", "status=0,status_user=no.such", code=2).line


def test_a_mount_serves_the_page_of_its_node(house: House, pub: Path) -> None:
    port = free_port()
    mount = house.mount(pub, "m", "nodht", f"status={port}")
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as s:
        s.sendall(b"GET /status.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(1 << 16), b""))
    (one,) = json.loads(answer.partition(b"\r\n\r\n")[2])["repositories"]
    assert (one["name"], one["standing"], one["running"]) == ("project", "fresh", True)
    mount.unmount()


# -- the page in a browser --------------------------------------------------------------------------------------------

CONTRAST = """(() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest("svg")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) bad.push(e.tagName + "." + e.className + " " + ratio.toFixed(2));
  }
  return bad;
})()"""
OPEN_ALL = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
WIDTH = "document.documentElement.scrollWidth"


def test_the_page_is_whole_without_scripts(site: Site, browser: Browser) -> None:
    browser.scripts(False)
    browser.open(site.url)
    browser.scripts(True)
    assert browser.js("document.querySelectorAll('#repositories tbody tr').length") == 3
    assert browser.js("document.querySelectorAll('#details details').length") == 3
    assert browser.js("document.querySelectorAll('svg.traffic, svg.calendar').length") == 5
    assert browser.js("getComputedStyle(document.querySelector('.badge.fresh')).borderRadius") != "0px"
    assert browser.said == []


def test_the_page_breaks_no_policy_and_is_live(house: House, published: Path, browser: Browser) -> None:
    seeder = seed(house, *several(house, published), options="status=0")
    site = Site(seeder.log)
    browser.open(site.url)
    browser.wait("document.getElementById('live').textContent == 'live'")
    assert "version 1," in browser.js("document.querySelector('#details').textContent")
    browser.js("document.querySelector('details').open = true; document.querySelector('#repositories a').focus()")
    focused = browser.js("document.activeElement.id")
    for path in house.repositories:
        house.commit(path, "news", {"news": b"newer\n"})
        house.gtfs("publish", path)
    browser.wait("document.querySelector('#repositories td[data-label=Version]').textContent == '2'")
    assert browser.js("document.querySelector('details').open")
    assert browser.js("document.activeElement.id") == focused != ""
    assert browser.said == []
    assert seeder.end() == 0
    browser.wait("document.getElementById('live').className == 'off'")


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_can_be_read_and_fits_every_screen(site: Site, browser: Browser, dark: bool) -> None:
    browser.dark(dark)
    for width in (360, 700, 1000, 1600):
        browser.size(width)
        browser.open(site.url)
        browser.js(OPEN_ALL)
        assert browser.js(WIDTH) <= width
        assert browser.js(CONTRAST) == []
    ground = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(18, 22, 27)") is dark


def test_the_page_is_used_by_keyboard(site: Site, browser: Browser) -> None:
    browser.open(site.url)
    browser.press("Tab")
    assert browser.js("document.activeElement.className") == "skip"
    assert browser.js("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Tab")
    assert browser.js("document.activeElement.matches('#repositories a')")
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.wait("document.querySelector('details').open")
    browser.js("document.querySelectorAll('summary')[1].focus()")
    browser.press("Enter")
    assert browser.js("document.querySelectorAll('details')[1].open")


def test_a_name_that_is_a_script_is_shown_and_not_run(house: House, pub: Path, browser: Browser) -> None:
    script = "<img src=x onerror=alert(1)>"
    site = Site(seed(house, pub, options=f"status=0,feed={house.root}/{script}.asc").log)
    wait_for(lambda: site.status()["repositories"][0]["trouble"], "the feed was asked")
    browser.open(site.url)
    browser.js(OPEN_ALL)
    assert browser.js("document.images.length") == 0
    assert f"{script}.asc" in browser.js("document.body.textContent")
    browser.wait("document.getElementById('live').textContent == 'live'")
    assert browser.js("document.images.length") == 0 and browser.said == []


def test_a_daemon_shows_all_that_it_has_and_an_empty_one_says_so(house: House, pub: Path, browser: Browser) -> None:
    daemon = start(house, "[status]\n\tlisten = 0\n\tuser = nobody\n")
    site = Site(daemon.log)
    browser.open(site.url)
    assert "There are none yet" in browser.js("document.body.textContent")
    lines = house.run(["gtfs", "status", "--check"], env=daemon.env, code=3).out
    assert lines.startswith("GTFS UNKNOWN - there are no repositories")
    daemon.ask("add", pub, "--name", "pub/project")
    daemon.ask("add", f"http://127.0.0.1:{free_port()}/latest.asc", "--name", "away")

    def standings() -> dict[str, str]:
        return {one["name"]: one["standing"] for one in site.status()["repositories"]}

    wait_for(lambda: standings() == {"pub/project": "fresh", "away": "unreachable"}, "the next look shows both")
    browser.wait("document.querySelectorAll('#repositories tbody tr').length == 2")
    assert browser.js("document.querySelector('#repositories tbody tr').textContent").startswith("away")
    said = house.run(["gtfs", "status"], env=daemon.env).out.splitlines()
    assert [line.split()[0] for line in said] == ["NAME", "away", "pub/project"]
    assert browser.said == [] and daemon.end() == 0
    assert "no daemon answers" in house.run(["gtfs", "status"], env=daemon.env, code=3).err
