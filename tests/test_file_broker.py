"""The example of a broker of one's own: it keeps the contract, and outlives a real process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> Any:
    """A module of the examples, which import one another by their bare names."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


TestFileBroker = example("test_own_backends").TestFileBroker
FileBroker = example("file_broker").FileBroker
FileResultBackend = example("file_result_backend").FileResultBackend
