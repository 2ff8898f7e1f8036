"""What the law reports of an end becomes the error that those are told who wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

import actorq
from actorq.engines.remote.ends import error_of, reason_of
from actorq.remote_error import dump_error


@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [
        (["expired", []], actorq.TaskExpired, "had not begun when its time to start went by"),
        (["cancelled", []], actorq.TaskCancelled, "the task was cancelled"),
        (["waiting", [0]], actorq.TaskCancelled, "task t was cancelled before it began"),
        (["waiting", [2]], actorq.TaskCancelled, "task t was cancelled between two attempts"),
        (["purged", ["mail"]], actorq.TaskCancelled, "queue 'mail' was purged before the task"),
        (["replaced", ["u"]], actorq.TaskCancelled, "task t was replaced by u, which has its"),
        (["lost", [3.0]], actorq.WorkerLost, "task t was delivered 3 times and no worker lived"),
        (["early", []], actorq.WorkerLost, "task t ran, which had been acknowledged"),
        (["refused", ["u", "key"]], actorq.DuplicateTask, "key"),
        (["unsaid", []], actorq.ActorqError, "did not say what comes after it"),
        (["died", ["no room"]], actorq.ActorqError, "no room"),
    ],
)
def test_each_end_has_its_error(end: list[Any], kind: type[Exception], text: str) -> None:
    """As the engines say it whose law is in Python."""
    error = error_of("t", end)
    assert type(error) is kind
    assert text in str(error)


def test_an_error_that_a_worker_told_comes_back() -> None:
    """Of a task that was buried with it."""
    told = json.dumps(dump_error(ValueError("bad photo")))
    assert "bad photo" in str(error_of("t", ["given", []], told))


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (["expired", []], "TaskExpired: task first had not begun"),
        (["died", ["it was refused"]], "ActorqError: it was refused"),
        (None, "did not succeed"),
    ],
)
def test_a_broken_chain_says_at_which_step_and_why(cause: list[Any] | None, said: str) -> None:
    """Who waits for a later step wants to know."""
    error = error_of("later", ["broken", ["resize", "first", False, cause, None]])
    assert isinstance(error, actorq.ChainBroken)
    assert "step resize (first)" in str(error)
    assert said in str(error)


def test_a_cancelled_chain_is_cancelled_at_every_step() -> None:
    """Not broken."""
    error = error_of("later", ["broken", ["resize", "first", True, None, None]])
    assert isinstance(error, actorq.TaskCancelled)
    assert "at step resize (first)" in str(error)


def test_a_dead_letter_that_the_law_wrote_has_a_reason() -> None:
    """The same text, or that it could not be enqueued."""
    assert reason_of("t", ["lost", [2]]) == str(error_of("t", ["lost", [2]]))
    refused = reason_of("t", ["refused", ["u", "key"]])
    assert refused.startswith("it could not be enqueued: ")
