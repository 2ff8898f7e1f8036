"""How numbers, times and states are written for people."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from actorq.queue_choice import QueueChoice


def count(n: int, noun: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def a(noun: str) -> str:
    """`a SyncTask`, `an InMemoryBroker`."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def span(seconds: float) -> str:
    """Short, in at most two units: `250ms`, `12.3s`, `4m10s`, `2h05m`, `3d4h`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def ago(moment: float | None) -> str:
    """How long something is past."""
    return "" if moment is None else f"{span(time.time() - moment)} ago"


def until(moment: datetime | None) -> str:
    """When something is to come, by this machine's clock, and in how long."""
    if moment is None:
        return "never"
    seconds = moment.timestamp() - time.time()
    with suppress(OverflowError, ValueError):  # centuries away
        moment = moment.astimezone()
    when = moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{when} (in {span(seconds)})" if seconds >= 0 else f"{when} ({span(-seconds)} late)"


def size(n: float) -> str:
    """Bytes: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def queues(choice: QueueChoice | None) -> str:
    """`all`, `urgent, default` in strict order, or `urgent=3, default=1` by weight."""
    if choice is None:
        return "all"
    if choice.weights is None:
        return ", ".join(choice.names)
    pairs = zip(choice.names, choice.weights, strict=True)
    return ", ".join([f"{name}={weight:g}" for name, weight in pairs])


def iso(moment: float | datetime | None) -> str | None:
    """For documents: UTC, to the millisecond."""
    if moment is None:
        return None
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bar(fraction: float, width: int) -> str:
    """`━━━━╌╌╌╌`."""
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return "━" * full + "╌" * (width - full)


def short(value: Any, width: int = 60) -> str:
    """In one line of at most that width."""
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"
