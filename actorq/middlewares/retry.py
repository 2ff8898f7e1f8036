"""Retries for tasks that say nothing about them: a default, given when a task is sent.

The worker does the retrying, by the policy that the message carries; these two only put one there.
"""

from __future__ import annotations

import attrs

from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.options import AckMode, TaskOptions
from actorq.retry import RetryPolicy


class SmartRetry(Middleware):
    """Every task that does not say `retries=` is retried by *policy*.

    A task that says `retries=0` is not retried, and neither is one with `ack="when_received"`, which
    the queue has forgotten when it fails.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        if not isinstance(policy, RetryPolicy):
            raise TypeError(
                f"{type(self).__name__} expects a RetryPolicy, such as "
                f"RetryPolicy.exponential(5, base=2); got {policy!r}"
            )
        self.policy = policy
        self._said_nothing: TaskOptions | None = None  #: the options that came last ...
        self._with_policy = TaskOptions()  #: ... and what was made of them

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        """Put the policy on a message that has none, and on the steps that follow it."""
        terms = message.terms
        if terms is not None and terms.chain:
            steps = tuple([self.pre_send(step) for step in terms.chain])
            message = attrs.evolve(message, terms=attrs.evolve(terms, chain=steps))
        options = message.options
        if options.retry is not None or options.ack is AckMode.WHEN_RECEIVED:
            return message
        if options is not self._said_nothing:  # calls of one task share their options
            self._with_policy = attrs.evolve(options, retry=self.policy)
            self._said_nothing = options
        return attrs.evolve(message, options=self._with_policy)

    def pre_execute(self, message: TaskMessage) -> TaskMessage:
        """Filters are code: on an engine that keeps bytes, only the policy's numbers have travelled."""
        policy, came = self.policy, message.options.retry
        if not policy.has_filters or came is None or came.has_filters:
            return message
        task = self.system.wiring.tasks.get(message.task_name)
        if task is None or task.options.retry is not None or came.to_plain() != policy.to_plain():
            return message  # it is not ours
        return attrs.evolve(message, options=attrs.evolve(message.options, retry=policy))


class SimpleRetry(SmartRetry):
    """Every task that does not say `retries=` is retried *retries* times, with the usual back-off.

    `retries` counts the attempts after the first: 3 retries are up to 4 runs.
    """

    def __init__(self, retries: int = 3) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise TypeError(
                f"SimpleRetry expects the number of attempts after the first (0, 1, 2, ...); "
                f"got {retries!r}"
            )
        super().__init__(RetryPolicy(retries=retries))
