"""The terms of one call: what its task's options come to, given its arguments and the time.

Pure but for the enqueuer's deadline, which is Trio's to tell.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
from collections.abc import Mapping
from typing import Any

import trio

from actorq.errors import ArgumentsError, OptionError
from actorq.limits import Key, Pace, Per, Permit
from actorq.message import Terms
from actorq.options import TaskOptions
from actorq.serialization import dump
from actorq.signature import Signature
from actorq.unique import UniqueKey


def terms_of(
    name: str,
    options: TaskOptions,
    signature: Signature,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    now: float,
    eta: float | None,
) -> Terms:
    """What holds for this call of the task called *name*.

    Raises `ArgumentsError` if a key cannot be made of the arguments.
    """
    call = _Call(name, options.queue, signature, args, kwargs)
    expires_at = options.expires_at
    if options.expires is not None:
        expires_at = max(now, eta or now) + options.expires
    deadline = _deadline(now) if options.propagate_deadline else None
    if deadline is not None:
        expires_at = deadline if expires_at is None else min(expires_at, deadline)
    return Terms(
        expires_at=expires_at,
        deadline=deadline,
        unique=_unique(options, call),
        permits=tuple([Permit(call.scoped(c.per, c.key), c.limit) for c in options.concurrency]),
        paces=tuple(
            [Pace(call.scoped(r.per, r.key), r.count, r.period, r.smooth) for r in options.rate]
        ),
    )


def check_keys(name: str, options: TaskOptions, signature: Signature) -> None:
    """Refuse keys that name no argument of the task called *name*; `OptionError`."""
    keys = [*(c.key for c in options.concurrency), *(r.key for r in options.rate)]
    if options.unique is not None:
        keys.append(options.unique.key)
    for key in keys:
        if isinstance(key, str):
            _check_format(name, key, signature)


def _check_format(name: str, key: str, signature: Signature) -> None:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(key) if field is not None]
    except ValueError as error:
        raise OptionError(f"{name}: the key {key!r} is no format string: {error}") from None
    there = signature.argument_names()
    for field in fields:
        argument = re.split(r"[.\[]", field, maxsplit=1)[0]
        if there is not None and argument not in there:
            raise OptionError(
                f"{name}: the key {key!r} names {argument!r}, which is no argument of the task; "
                f"there are: {', '.join(there) or 'none'}"
            )


def _deadline(now: float) -> float | None:
    if not trio.lowlevel.in_trio_task():
        return None  # a transaction in some thread: there is no deadline
    left = trio.current_effective_deadline() - trio.current_time()
    return None if left == math.inf else now + max(0.0, left)


def _unique(options: TaskOptions, call: _Call) -> UniqueKey | None:
    if options.unique is None:
        return None
    if options.unique.key is not None:
        return options.unique.resolved(call.scoped(Per.TASK, options.unique.key))
    return options.unique.resolved(f"task {call.name}: {call.digest()}")


class _Call:
    """One call, as keys are made of it."""

    def __init__(
        self,
        name: str,
        queue: str,
        signature: Signature,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.name = name
        self._queue = queue
        self._signature = signature
        self._args = args
        self._kwargs = kwargs

    def scoped(self, per: Per, key: Key) -> str:
        """The key of a limit: what shares it, and what it is counted for."""
        scope = {Per.TASK: f"task {self.name}", Per.QUEUE: f"queue {self._queue}"}.get(per, "all")
        return scope if key is None else f"{scope}: {self._made(key)}"

    def _made(self, key: Key) -> str:
        try:
            if isinstance(key, str):
                made: Any = key.format(**self._signature.named_arguments(self._args, self._kwargs))
            else:
                assert key is not None
                made = key(*self._args, **self._kwargs)
        except ArgumentsError:
            raise
        except Exception as error:
            raise ArgumentsError(
                f"{self.name}: its key {key!r} cannot be made of these arguments: "
                f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(made, bool) or not isinstance(made, str | int):
            raise ArgumentsError(
                f"{self.name}: its key {key!r} must give a text or a whole number; it gave {made!r}"
            )
        return str(made)

    def digest(self) -> str:
        """The same for calls with the same arguments, however they are passed."""
        named = self._signature.named_arguments(self._args, self._kwargs)
        text = json.dumps(dump(named), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
