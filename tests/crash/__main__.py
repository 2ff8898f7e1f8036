"""`make crash-rounds`, or `python -m crash ROUNDS [SEED] [AT_ONCE]`: many rounds, and their sum."""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import trio

from crash.rounds import Round, play
from crash.verdict import Verdict


def say(line: str) -> None:
    """At once, also into a file."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def quantile(values: list[float], share: float) -> float:
    """Of the sorted values."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0.0


def summary(verdicts: list[Verdict], died: Counter[str]) -> str:
    """What all of them have shown."""
    sums = {
        name: sum(getattr(each, name) for each in verdicts)
        for name in ("tasks", "ran", "kills", "again", "repeated")
    }
    found = {
        name: sum(len(getattr(each, name)) for each in verdicts)
        for name in ("lost", "stale", "unexplained", "wrong")
    }
    took = [seconds for each in verdicts for seconds in each.recovery]
    return (
        f"{len(verdicts)} rounds, {sums['tasks']:,} tasks accepted, {sums['ran']:,} executions, "
        f"{sums['kills']} kills ({', '.join(f'{n} {role}' for role, n in died.most_common())}); "
        f"{sums['again']} ran again for a kill, {sums['repeated']} of them had ended before; "
        f"kill to re-run: median {quantile(took, 0.5):.2f} s, 99 % {quantile(took, 0.99):.2f} s, "
        f"at most {max(took, default=0):.2f} s; "
        + ", ".join(f"{count} {name}" for name, count in found.items())
    )


async def main(rounds: int, seed: int, at_once: int) -> int:
    """Play them; 1 if anything was wrong."""
    verdicts: list[Verdict] = []
    died: Counter[str] = Counter()
    seeds = iter(range(seed, seed + rounds))

    async def player() -> None:
        for number in seeds:
            round_ = Round.drawn(number)
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="actorq-crash-") as folder:
                try:
                    verdict = await play(round_, Path(folder))
                except Exception as error:
                    verdict = Verdict(wrong=["".join(traceback.format_exception(error))])
            verdicts.append(verdict)
            died.update(verdict.died)
            took = time.monotonic() - began
            say(
                f"seed {number}: {took:.1f} s, {verdict.tasks} tasks, {verdict.kills} kills, "
                f"{verdict.again} again, recovery at most {max(verdict.recovery, default=0):.2f} s"
            )
            if verdict.complaints:
                say(f"{verdict.complaints}\n{round_}")

    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(player)
    say(f"{summary(verdicts, died)}; {time.monotonic() - began:.0f} s, seeds from {seed}")
    return int(any(each.complaints for each in verdicts))


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    defaults = [200, random.randrange(10**6), 1]
    rounds, seed, at_once = given + defaults[len(given) :]
    sys.exit(trio.run(main, rounds, seed, at_once))
