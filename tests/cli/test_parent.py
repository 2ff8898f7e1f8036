"""The parent's decisions, without processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actorq.cli import exits
from actorq.cli.commands.worker import read_queues, read_size
from actorq.cli.output import Output
from actorq.cli.serving import parent as parent_module
from actorq.cli.serving.journal import Journal
from actorq.cli.serving.orders import News, Orders
from actorq.cli.serving.parent import Parent, Plan
from actorq.cli.serving.process import Process
from actorq.restart import Backoff


async def test_a_system_that_has_no_room_for_a_process_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if the process had died, and as often."""

    @asynccontextmanager
    async def full(orders: Orders, *, quiet: bool) -> AsyncIterator[Process]:
        raise BlockingIOError("no more processes")
        yield  # type: ignore[unreachable]

    monkeypatch.setattr(parent_module, "started", full)
    orders = Orders("worker-1", "jobs:broker")
    plan = Plan([orders], intensity=2, backoff=Backoff(base=0.001))
    assert await Parent(plan, Journal("worker", Output(json=True))).run() == exits.FAILED
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events] == ["died", "died", "gave up", "ended"]
    assert "cannot start (no more processes)" in events[0]["text"]


@pytest.mark.parametrize(
    "orders",
    [
        Orders("worker-1", "jobs:broker"),
        Orders(
            "a",
            "b:c",
            "scheduler",
            ("x", "y"),
            7,
            ("mail", "images"),
            0.5,
            3,
            1 << 30,
            9.0,
            "DEBUG",
        ),
        Orders("a", "b:c", queues={"mail": 3.0, "images": 0.5}),
    ],
)
def test_orders_arrive_as_they_were_given(orders: Orders) -> None:
    """In one line; so does what is told back."""
    line = orders.line()
    assert line.count(b"\n") == 1
    assert Orders.read(line) == orders
    news = News("leaving", "so many\nlines")
    assert News.read(news.line()) == news


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mail", ("mail",)),
        ("mail, images", ("mail", "images")),
        ("mail=3,images=0.5", {"mail": 3.0, "images": 0.5}),
        ("mail=3,images", {"mail": 3.0, "images": 1.0}),
    ],
)
def test_queues_as_they_are_said(said: str, meant: object) -> None:
    """In strict order, or by weights."""
    assert read_queues(None, None, said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [("500M", 500 << 20), ("2G", 2 << 30), ("1.5g", 3 << 29), ("64 KiB", 64 << 10), ("100", 100)],
)
def test_sizes_as_they_are_said(said: str, meant: int) -> None:
    """Bytes, and their thousands of 1,024."""
    assert read_size(None, None, said) == meant
