"""Schedules as storages keep them: JSON text, which another version of the program may have written."""

from __future__ import annotations

import json
import logging
from typing import Any

from actorq.schedule_state import Schedule


log = logging.getLogger("actorq.scheduler")


def decoded(schedule_id: str, state: Any) -> Schedule | None:
    """The schedule; None, and said in the log, if it cannot be read."""
    try:
        return Schedule.from_dict(json.loads(state))
    except ValueError as error:  # EnvelopeError is one
        log.error(  # noqa: TRY400 - what is wrong is in it
            "schedule %r cannot be read, and does not run: %s; add it again under its id, with what "
            "this version knows, or run the newer version that has stored it",
            schedule_id,
            error,
        )
        return None
