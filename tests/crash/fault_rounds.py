"""`make fault-rounds`, or `python -m crash.fault_rounds ENGINE FAULT ROUNDS [SEED] [AT_ONCE]`.

ENGINE: redis, postgres, both as "all", or sqlite; FAULT: one of `crash.faults.FAULTS`, or all.  A line
for each run of 20 rounds at most, JSON and a line of a table for each fault; 1 if anything was wrong.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import traceback
from pathlib import Path

import trio

from crash.__main__ import quantile, say
from crash.faults import FAULTS, Fault, Report, play
from crash.verdict import Verdict


#: Rounds that one server and its processes live through.
RUN = 20
COLUMNS = (
    *("engine", "fault", "rounds", "tasks", "executions", "killed", "again", "repeated", "refused"),
    *("starved", "unsure", "heal_median", "heal_max", "lost", "stale", "unexplained", "wrong"),
    "seconds",
)


async def one(engine: str, fault: Fault, rounds: int, seed: int) -> Report:
    """A run; what broke the harness itself is a complaint, too."""
    with tempfile.TemporaryDirectory(prefix="actorq-fault-") as folder:
        try:
            return await play(engine, fault, seed, rounds, Path(folder))
        except Exception as error:
            wrong = str(error) or "".join(traceback.format_exception(error))
            return Report(Verdict(wrong=[f"{type(error).__name__}: {wrong}"]))


def summary(engine: str, fault: Fault, rounds: int, reports: list[Report]) -> dict[str, object]:
    """What all of them have shown."""
    verdicts = [each.verdict for each in reports]
    healing = [seconds for each in reports for seconds in each.healing]
    return {
        "engine": engine,
        "fault": fault.name,
        "rounds": rounds,
        "tasks": sum(each.tasks for each in verdicts),
        "executions": sum(each.ran for each in verdicts),
        "killed": sum(each.kills for each in verdicts),
        "again": sum(each.again for each in verdicts),
        "repeated": sum(each.repeated for each in verdicts),
        "refused": sum(each.refused for each in reports),
        "starved": sum(each.starved for each in reports),
        "unsure": sum(each.unsure for each in reports),
        "heal_median": round(quantile(healing, 0.5), 2),
        "heal_max": round(max(healing, default=0.0), 2),
        "lost": sum(len(each.lost) for each in verdicts),
        "stale": sum(len(each.stale) for each in verdicts),
        "unexplained": sum(len(each.unexplained) for each in verdicts),
        "wrong": sum(len(each.wrong) for each in verdicts),
        "seconds": round(sum(each.seconds for each in reports)),
    }


async def main(
    engines: list[str], faults: list[Fault], rounds: int, seed: int, at_once: int
) -> int:
    """Play them; 1 if anything was wrong."""
    sums: list[dict[str, object]] = []
    for fault in faults:
        for engine in engines:
            if engine not in fault.engines:
                continue
            reports: list[Report] = []
            pieces = iter([(n, min(RUN, rounds - n)) for n in range(0, rounds, RUN)])

            async def player(
                engine: str = engine,
                fault: Fault = fault,
                reports: list[Report] = reports,
                pieces: object = pieces,
            ) -> None:
                for first, count in pieces:  # type: ignore[attr-defined]
                    report = await one(engine, fault, count, seed + first)
                    reports.append(report)
                    verdict = report.verdict
                    say(
                        f"{engine} {fault.name} seed {seed + first}: {count} rounds, "
                        f"{report.seconds:.1f} s, {verdict.tasks} tasks, {report.faults} faults, "
                        f"{verdict.again} again, healed in {max(report.healing, default=0):.2f} s"
                    )
                    if verdict.complaints:
                        say(verdict.complaints)

            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(player)
            sums.append(summary(engine, fault, rounds, reports))
            say(json.dumps({**sums[-1], "seed": seed}))
    say("| " + " | ".join(COLUMNS) + " |")
    say("|" + "---|" * len(COLUMNS))
    for each in sums:
        say("| " + " | ".join(str(each[name]) for name in COLUMNS) + " |")
    found = ("lost", "stale", "unexplained", "wrong")
    return int(any(each[name] for each in sums for name in found))


def asked(words: list[str]) -> tuple[list[str], list[Fault], int, int, int]:
    """The command line."""
    engine, fault, *numbers = [*words, "all", "all"][: max(2, len(words))]
    engines = ["redis", "postgres"] if engine == "all" else [engine]
    if engine not in ("all", "redis", "postgres", "sqlite") or (
        fault != "all" and fault not in FAULTS
    ):
        sys.exit(f"redis, postgres or all; {', '.join(FAULTS)} or all; got {engine} {fault}")
    faults = [*FAULTS.values()] if fault == "all" else [FAULTS[fault]]
    defaults = [100, random.randrange(10**6), 1]
    rounds, seed, at_once = [int(each) for each in numbers] + defaults[len(numbers) :]
    return engines, faults, rounds, seed, at_once


if __name__ == "__main__":
    sys.exit(trio.run(main, *asked(sys.argv[1:])))
