"""`actorq top`: rates out of counts, a picture that fits, a terminal that is left as it was."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from actorq import TaskProgress, every
from actorq.cli import exits
from actorq.cli.overview import line_of, rows_of
from actorq.cli.picture import Snapshot, View, picture
from actorq.cli.rates import WINDOW, Pulse, Rates, sparkline
from actorq.protocol import QueueStatistics, RunningJob, WorkerInfo
from actorq.queue_choice import QueueChoice
from actorq.schedule_source import ScheduleInfo
from cli.project import Shop
from cli.running import ROOT


def counts(*, ready: int = 0, running: int = 0, done: int = 0) -> QueueStatistics:
    """Of a queue with nothing else in it."""
    return QueueStatistics(0, ready, 0, 0, running, done, 0, 0, {"default": ready})


# --- rates ---


@given(
    rate=st.integers(1, 10_000),
    waits=st.floats(0, 1000),
    runs=st.floats(0, 1000),
    looks=st.integers(2, 40),
)
def test_a_steady_queue(rate: int, waits: float, runs: float, looks: int) -> None:
    """By Little's law, whatever the moments of the looks: what goes in comes out."""
    pulse = Pulse()
    ready, running = round(rate * waits), round(rate * runs)
    for look in range(looks):
        told = pulse.note(look * 0.5, counts(ready=ready, running=running, done=look * rate))
    assert told.per_second is not None
    assert told.waits is not None
    assert told.waits * told.per_second == pytest.approx(ready)
    ended = rate * min(looks - 1, round(WINDOW / 0.5))
    assert (told.runs is None) is (ended < running)
    if told.runs is not None:
        assert told.runs * told.per_second == pytest.approx(running)


def test_what_is_not_known_is_not_told() -> None:
    """At the first look; and while nothing ends."""
    pulse = Pulse()
    assert pulse.note(0.0, counts(ready=5)) == Rates(None, None, None)
    assert pulse.note(1.0, counts(ready=5)) == Rates(0.0, None, None)
    assert pulse.note(2.0, counts(ready=3, done=2)).per_second == 1.0


def test_the_window() -> None:
    """What was before it counts no more; the history goes back further."""
    pulse = Pulse()
    for second in range(31):
        told = pulse.note(float(second), counts(done=100 * min(second, 10)))
    assert told.per_second == 0.0
    assert pulse.samples[-1].at - pulse.samples[0].at == WINDOW
    assert list(pulse.history) == [100.0] * 10 + [0.0] * 20


def test_a_counter_that_falls() -> None:
    """Dead letters are purged: no negative rate."""
    pulse = Pulse()
    pulse.note(0.0, counts(done=10))
    assert pulse.note(1.0, counts(done=4)).per_second == 0.0


@given(st.lists(st.floats(0, 1e6), max_size=50), st.integers(1, 60))
def test_sparklines(values: list[float], width: int) -> None:
    """One block each, the latest ones, the highest full."""
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    if any(values[-width:]):
        assert drawn[values[-width:].index(max(values[-width:]))] == "█"


# --- the picture ---

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)
jobs = st.builds(
    RunningJob,
    task_id=texts,
    task_name=texts,
    queue=st.sampled_from(["default", "mail", "video"]),
    attempt=st.integers(1, 99),
    since=st.none() | st.floats(0, 2e9),
    line=texts,
    progress=st.none() | st.builds(TaskProgress, progress=st.floats(0, 1), status=texts),
)
workers = st.builds(
    WorkerInfo,
    name=texts,
    session=st.integers(1),
    pid=st.none() | st.integers(1, 10**7),
    host=texts,
    queues=st.sampled_from([None, QueueChoice(("mail",)), QueueChoice(("mail", "video"), (3, 1))]),
    since=st.none() | st.floats(0, 2e9),
    seen=st.none() | st.floats(0, 2e9),
    jobs=st.lists(jobs, max_size=30).map(tuple),
)
NEXT = ScheduleInfo(
    *("hourly", "task", every(3600), (), {}, "every hour", datetime.now(UTC), None, None, 0),
    paused=False,
    declared=False,
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Of queues of every size."""
    many = draw(st.lists(workers, max_size=12).map(tuple))
    names = draw(st.lists(texts, max_size=12, unique=True))
    counted = counts(ready=draw(st.integers(0, 10**7)), running=draw(st.integers(0, 10**4)))
    rows = rows_of(QueueStatistics(0, 1, 0, 0, 1, 1, 0, 0, dict.fromkeys(names, 7)), many)
    rates = Rates(*[draw(st.none() | st.floats(0, 1e6)) for _ in range(3)])
    return Snapshot(
        2e9, counted, rates, [1.0, 2.0], rows, many, draw(st.sampled_from([None, NEXT]))
    )


@settings(max_examples=25)  # each is a whole terminal
@given(
    shot=st.none() | snapshots(),
    width=st.sampled_from([80, 81, 100, 132, 240]),
    height=st.integers(20, 60),
    first=st.integers(0, 500),
    trouble=st.just("") | texts,
)
def test_the_picture_fits(
    shot: Snapshot | None, width: int, height: int, first: int, trouble: str
) -> None:
    """Whatever there is, and whatever it is called: no line is broken, nothing falls off the end."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    view = View("SQLiteBroker /somewhere/a/queue.db", first=first, trouble=trouble)
    lines = console.render_lines(picture(shot, view, width, height), pad=False)
    assert len(lines) <= height
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)


def test_the_line_of_a_job() -> None:
    """The file without its folder; what is not known is nothing."""
    assert line_of("resize (/srv/shop/pictures.py:12)") == "pictures.py:12"
    assert line_of("C.resize (pictures.py:12)") == "pictures.py:12"
    assert line_of("") == ""


# --- the terminal ---


class Terminal:
    """What a program draws on, and the keys that it gets."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.process = process
        self.drawn = b""

    def until(self, text: bytes, seconds: float = 30.0) -> None:
        """Wait until that is drawn."""
        end = time.monotonic() + seconds
        while text not in self.drawn:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, self.drawn.decode(errors="replace")
            try:
                self.drawn += os.read(self.fd, 65536)
            except OSError:  # the program has ended, and with it the terminal
                break
        assert text in self.drawn, self.drawn.decode(errors="replace")

    def press(self, keys: bytes) -> None:
        """What is drawn before that does not count any more."""
        self.drawn = b""
        os.write(self.fd, keys)


@contextmanager
def terminal(shop: Shop, *arguments: str) -> Iterator[Terminal]:
    """`actorq` in a terminal of 80 by 24, for the body."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "actorq", *arguments],
        cwd=shop.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    before = termios.tcgetattr(theirs)
    try:
        yield Terminal(ours, process)
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


@pytest.mark.engine
def test_looking_and_quitting(shop: Shop) -> None:
    """It draws, p holds it, arrows are taken, q leaves a terminal as it was."""
    shop.enqueue("shop_of_a_test:add", "--arg", "1")
    with terminal(shop, "top", "--interval", "50ms") as screen:
        screen.until(ENTER)
        screen.until(b"ready")
        screen.press(b"p")
        screen.until(b"paused")
        screen.press(b"\x1b[A\x1b[B")
        screen.press(b"p")
        screen.until(b"q quits")
        screen.press(b"q")
        screen.until(LEAVE)
        assert SHOW_CURSOR in screen.drawn
        assert screen.process.wait(30) == exits.OK


@pytest.mark.engine
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)],
)
def test_being_interrupted(shop: Shop, number: signal.Signals, code: int) -> None:
    """The terminal is left in order then, too."""
    with terminal(shop, "top") as screen:
        screen.until(b"ready")
        screen.drawn = b""
        screen.process.send_signal(number)
        screen.until(LEAVE)
        assert SHOW_CURSOR in screen.drawn
        assert b"Traceback" not in screen.drawn
        assert screen.process.wait(30) == code


@pytest.mark.engine
def test_a_window_that_changes(shop: Shop) -> None:
    """It is drawn anew, for its new size."""
    import fcntl
    import struct
    import termios

    with terminal(shop, "top", "--interval", "60") as screen:
        screen.until(b"ready")
        screen.drawn = b""
        fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        screen.process.send_signal(signal.SIGWINCH)
        screen.until(b"q quits")
        screen.press(b"q")
        assert screen.process.wait(30) == exits.OK


@pytest.mark.engine
def test_the_bar_of_watch(shop: Shop) -> None:
    """Drawn as progress comes, gone at the end; the result stays."""
    task_id = shop.enqueue("shop_of_a_test:steps")
    with shop.worker(), terminal(shop, "watch", task_id) as screen:
        screen.until(b"50%")
        (shop.folder / "go").touch()
        screen.until(b'"done"')
        assert screen.process.wait(30) == exits.OK


@pytest.mark.engine
def test_no_terminal(shop: Shop) -> None:
    """One look, as text."""
    looked = shop("top").out
    assert "0 ready" in looked
    assert "\x1b" not in looked
