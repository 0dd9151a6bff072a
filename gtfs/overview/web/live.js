// SPDX-License-Identifier: GPL-3.0-or-later
// Keeps the page up to date: asks for it again, and puts its parts in the place of the old ones.
"use strict";

const EVERY_MS = 5000;
const SLOWEST_MS = 60000;
const PARTS = ["asof", "summary", "traffic", "publishes", "repositories", "details"];
let wait = EVERY_MS;
let seen = null;

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details");
  if (folded) {
    folded.open = true;
    folded.scrollIntoView();
  }
}

function put(fresh) {
  const opened = [...document.querySelectorAll("details[open]")].map((d) => d.id);
  const focused = document.activeElement && document.activeElement.id;
  document.title = fresh.title;
  for (const id of PARTS) {
    const old = document.getElementById(id);
    const now = fresh.getElementById(id);
    if (old && now && old.outerHTML !== now.outerHTML) {
      for (const d of now.querySelectorAll("details")) d.open = opened.includes(d.id);
      old.replaceWith(document.adoptNode(now));
    }
  }
  const again = focused && document.getElementById(focused);
  if (again && again !== document.activeElement) again.focus({ preventScroll: true });
}

async function look() {
  const live = document.getElementById("live");
  const selection = document.getSelection();
  if (document.hidden || (selection && !selection.isCollapsed)) return;
  const begun = performance.now();
  try {
    const headers = seen ? { "If-None-Match": seen } : {};
    const answer = await fetch("/", { headers, cache: "no-store", redirect: "error" });
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(String(answer.status));
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      seen = answer.headers.get("ETag");
    }
    wait = Math.max(EVERY_MS, 20 * (performance.now() - begun));
    if (live.textContent !== "live") live.textContent = "live";
    live.className = "on";
  } catch (error) {
    wait = Math.min(2 * wait, SLOWEST_MS);
    live.textContent = "no answer: what is shown is old";
    live.className = "off";
  }
}

async function loop() {
  await look();
  setTimeout(loop, wait);
}

addEventListener("hashchange", openTarget);
document.addEventListener("visibilitychange", look);
openTarget();
loop();
