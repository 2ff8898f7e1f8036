"""What a worker process does: import the function, run one call, and tell how it ended.

Arguments come and results go as plain data; nothing that a task made is ever pickled.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from actorq.captured_log import CapturedLog
from actorq.errors import TaskDefinitionError
from actorq.import_name import ImportName
from actorq.remote_error import dump_error
from actorq.task import Task, make_task


def begin() -> None:
    """Run once in each worker process: see to it that it does not outlive its parent.

    An idle one ends when its pipe closes; one that is busy looks at no pipe.
    """
    threading.Thread(target=_end_with_parent, name="actorq: parent", daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def call(
    name: tuple[str, str], args: Sequence[Any], kwargs: Mapping[str, Any], capture: bool
) -> dict[str, Any]:
    """One call: its value, error or exit code as plain data, and what it logged."""
    if not capture:
        return _outcome(ImportName(*name), args, kwargs)
    captured = CapturedLog()
    with captured.capturing():
        outcome = _outcome(ImportName(*name), args, kwargs)
    return {**outcome, "log": captured.text()}


def _outcome(name: ImportName, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        task = _task_called(name)
        loaded_args, loaded_kwargs = task.signature.load(args, kwargs)
        value = task.function(*loaded_args, **loaded_kwargs)
        _refuse_coroutine(name, value)
        return {"value": task.signature.return_dump(value)}
    except SystemExit as stop:
        # The same as os._exit() to whoever waits, but this process can go on.
        return {"exit": stop.code if isinstance(stop.code, int) else int(stop.code is not None)}
    except BaseException as error:  # noqa: BLE001 - it is told, and raised where somebody waits
        return {"error": dump_error(error)}


def _refuse_coroutine(name: ImportName, value: object) -> None:
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that it was never awaited
        raise TaskDefinitionError(
            f"executor='process': {name} returned a coroutine, and nothing runs it there; leave the "
            f"option out"
        )


def _task_called(name: ImportName) -> Task[..., Any]:
    try:
        found = name.find()
    except Exception as error:
        raise TaskDefinitionError(
            f"executor='process': {name} cannot be imported in a worker process: {error!r}"
        ) from error
    return found if isinstance(found, Task) else make_task(found, name=str(name))
