# SPDX-License-Identifier: GPL-3.0-or-later
"""How repositories fare, at one glance, for people and monitors.

A **health** says of one repository what its status answer comes down to: fresh, lagging, stale, and so on, and why.
Everything else here only shows that: **lines** on a terminal, **metrics** for Prometheus, and the **page**, which
a small **server** gives to browsers together with the **traffic** of the last day. Nothing here asks a node: whoever
runs nodes gives their status answers.
"""
