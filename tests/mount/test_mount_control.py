# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into ``.gtfs``: judged at its close or rename, then gone; and writers beside what is listed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakefs import make_pack
