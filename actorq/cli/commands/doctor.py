"""`actorq doctor`: what is wrong, and what to change."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from rich.text import Text

from actorq.actors.broker import Broker
from actorq.capability import Capability
from actorq.cli import exits
from actorq.cli.client import ask, check_shared
from actorq.cli.engine import damage_of, information_of
from actorq.cli.examining import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
    Gathered,
    file_settings,
    health,
    server_settings,
    versions,
)
from actorq.cli.finding import broker_name, broker_option, find_broker, is_url
from actorq.cli.output import CommandError, Output, json_option
from actorq.cli.tables import styled
from actorq.cli.words import a, count
from actorq.engines.remote.information import ServerInformation
from actorq.engines.sqlite.maintenance import FileInformation
from actorq.errors import ActorqError, EngineUnavailable
from actorq.protocol import QueuedTask


if TYPE_CHECKING:
    from actorq.system import System

#: Tasks that are looked through for those that no worker knows.
MOST = 1000
_SIGNS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), PROBLEM: ("✗", "bold red")}


@click.command()
@click.option("--integrity", is_flag=True, help="Read the whole file, to see whether it is sound.")
@broker_option
@json_option
def doctor(integrity: bool, broker: str | None, output: Output) -> int:
    """Check the configuration, the engine and the queue; say what to change.

    Exit code 1 if something does not work, or may be lost; what should only be looked at is a warning.
    """
    findings = [*versions()]
    found = _broker(broker, findings)
    if found is not None:
        findings += _inside(found, integrity=integrity)
    wrong = [each for each in findings if each.level == PROBLEM]
    output.document({"healthy": not wrong, "findings": [each._asdict() for each in findings]})
    for each in findings:
        sign, style = _SIGNS[each.level]
        line = styled(f"{sign} ", style).append(f"{each.check:16}", "bold").append(each.says)
        output.text(line)
        if each.advice:
            output.text(Text(f"  {'':16}→ {each.advice}", style="cyan"))
    warned = [each for each in findings if each.level == WARNING]
    if not output.json:
        parts = [count(len(wrong), "problem")] if wrong else []
        parts += [count(len(warned), "warning")] if warned else []
        output.text(Text(), styled(", ".join(parts) or "all is well", "bold"))
    return exits.FAILED if wrong else exits.OK


def _broker(said: str | None, findings: list[Finding]) -> Broker | None:
    try:
        name = broker_name(said)
        found = find_broker(said)
    except CommandError as error:
        advice = "; ".join(" ".join(line.split()).rstrip(";:") for line in error.advice)
        findings.append(Finding("broker", PROBLEM, error.message, advice))
        return None
    kind = a(type(found).__name__)
    if is_url(name):
        findings.append(
            Finding("broker", OK, f"the URL is that of {kind}; its tasks are not known")
        )
    else:
        tasks = count(len(found.tasks), "task")
        findings.append(Finding("broker", OK, f"{name} is {kind} with {tasks}"))
    try:
        check_shared(found)
    except CommandError as error:
        findings.append(Finding("engine", PROBLEM, error.message, "; ".join(error.advice)))
        return None
    return found


def _inside(broker: Broker, *, integrity: bool) -> list[Finding]:
    async def gather(sys: System) -> Gathered:
        counts = await sys.queue_statistics()
        parked: tuple[QueuedTask, ...] = ()
        if counts.parked and Capability.LISTING not in broker.lacks:
            listed = await sys.queued_tasks(limit=MOST)
            parked = tuple([each for each in listed if each.state == "parked"])
        no_letters = Capability.DEAD_LETTERS in broker.lacks
        return Gathered(
            counts=counts,
            workers=None if Capability.WORKERS in broker.lacks else await sys.workers(),
            schedules=await sys.schedules.list(),
            dead=() if no_letters else await sys.dead_tasks(),
            parked=parked,
            information=await information_of(broker),
            damage=await damage_of(broker) if integrity else None,
            began=time.time(),
        )

    began = time.monotonic()
    try:
        gathered = ask(broker, gather)
    except EngineUnavailable as why:
        return [Finding("engine", PROBLEM, str(why), "nothing can be enqueued or run until then")]
    except ActorqError as error:
        return [Finding("engine", PROBLEM, f"{type(error).__name__}: {error}")]
    took = time.monotonic() - began
    opened = Finding("engine", OK, f"opened, asked and closed in {took * 1000:.0f} ms")
    said = gathered.information
    of_engine: Iterable[Finding] = ()
    if isinstance(said, FileInformation):
        of_engine = file_settings(said)
    elif isinstance(said, ServerInformation):
        of_engine = server_settings(said)
    return [opened, *of_engine, *health(gathered)]
