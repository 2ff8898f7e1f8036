"""The project that the commands are tried on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.project import MODULE, Shop, make_shop


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    """With a broker on a file, and nothing in its queue."""
    yield make_shop(tmp_path, monkeypatch, capsys)
    sys.modules.pop(MODULE, None)
