# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything is in setup.cfg."""

from setuptools import setup

setup()
