"""docs/workers.md: every option is explained, and what is shown is what is in examples/deploy."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from actorq.cli.commands.scheduler import scheduler
from actorq.cli.commands.worker import worker
from actorq.cli.serving.orders import PATIENCE


ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
DEPLOYED = sorted((ROOT / "examples" / "deploy").iterdir())


@pytest.mark.parametrize("command", [worker, scheduler], ids=["worker", "scheduler"])
def test_every_option_is_explained(command: click.Command) -> None:
    """In the table."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            name = max(parameter.opts, key=len)
            assert f"| `{name}" in PAGE, name


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.name)
def test_what_is_shown_is_what_is_there(path: Path) -> None:
    """Each file of examples/deploy stands on the page."""
    (block,) = re.findall(
        rf"^```\w+ examples/deploy/{path.name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert block == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.name)
def test_the_options_in_the_deployment_are_ours(path: Path) -> None:
    """And the time that they leave for the end is enough."""
    text = path.read_text(encoding="utf-8")
    known = {name for parameter in worker.params for name in parameter.opts}
    assert (
        set(re.findall(r"(?<=[\s\"])--[a-z-]+", text)) - {"--no-cache-dir", "--interval"} <= known
    )
    grace = re.search(r"--grace\W+(\d+)", text)
    assert grace is not None
    for patience in re.findall(r"(?:TimeoutStopSec=|terminationGracePeriodSeconds: )(\d+)", text):
        assert int(patience) > int(grace[1]) + PATIENCE
