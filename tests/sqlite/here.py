"""The environment of programs that are started: they import these sources."""

from __future__ import annotations

import os
from pathlib import Path


HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
