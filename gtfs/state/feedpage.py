# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a directory that a web server serves: what is there, and what to type to follow it. Pure."""

from __future__ import annotations

from html import escape
from typing import Final

from gtfs.catalogue.document import Catalogue
from gtfs.feed import LATEST, seed_url
from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX
from gtfs.trust.stanza import write_time

_STYLE: Final = (
    "body{font:1rem/1.5 sans-serif;max-width:50rem;margin:1rem auto;padding:0 1rem}"
    "code,pre{overflow-wrap:anywhere;white-space:pre-wrap}"
)
_SHOWN: Final = 1000  # reels


def feed_page(catalogue: Catalogue) -> str:
    """HTML without scripts or anything from elsewhere. Where no web seed is set, the reader fills in the address."""
    base = catalogue.web_seeds[0] if catalogue.web_seeds else "URL-OF-THIS-PAGE"
    name = escape(catalogue.repository)
    signer = " ".join(f"-o signer={key}" for key in catalogue.signers)
    source = seed_url(base, LATEST)
    reels = "\n".join(
        f'<li><a href="{escape(entry.name + REEL_SUFFIX)}"><code>{escape(entry.name)}</code></a>, {entry.size} bytes, '
        f'{entry.rows} packs (<a href="{escape(entry.name + METAINFO_SUFFIX)}">torrent</a>)</li>'
        for entry in catalogue.reels[:_SHOWN]
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{name}</h1>
<p>A git history, carried by BitTorrent: <a href="{LATEST}">catalogue {catalogue.version}</a> of
{escape(write_time(catalogue.date_s))}, which counts until {escape(write_time(catalogue.valid_until_s))}.</p>
<h2>To follow it</h2>
<pre>gtfs sync {escape(source)} {escape(signer)}</pre>
<pre>git clone gtfs::{escape(source)}</pre>
<p>Ask the publisher whether this is the key that signs:</p>
<ul>
{chr(10).join(f"<li><code>{escape(key)}</code></li>" for key in catalogue.signers)}
</ul>
<h2>Reels: {len(catalogue.reels)}</h2>
<ul>
{reels}
</ul>
</body>
</html>
"""
