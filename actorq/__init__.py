"""actorq: the verified task queue for Trio.

The package's map, from the bottom; imports run one way:

errors, ids, environment, capability         what everything may need
progress, result, remote_error, message,     values: what travels
options, retry, crontab, schedule, fields,
trigger_form, schedule_state, schedule_table,
serialization/, parameters, signature,
state, import_name, depends, context, limits,
unique, terms, dependency_graph, dependencies,
call, task, succession, wire/, queue_choice,
requirements
signals, statistics, dead_letters, reply,    the kernel: actors behind mailboxes
mailbox, tap, cell, ref, timers, actor,
incarnation, restart, whereabouts,
supervisor, kernel
chain, clock, protocol, wiring, middleware,  what the five actors of a queue share
job, process_child, processes,
dependency_resolver, captured_log, attempt,
lifespan, slots, ahead, conclusion, reporter, runner,
schedule_source, configuration, sessions,
engine
actors/                                      result backend, broker, middleware, worker pool, scheduler
engines/                                     where queues, results and schedules are kept
middlewares/                                 to be plugged in
handle, composition/, operations, schedules, what the user holds
system
testing/                                     drawn schedules, virtual time, faults
cli/, __main__                               the command line
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from actorq._version import __version__
from actorq.actor import Actor
from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.actors.worker_pool import PoolStatistics
from actorq.call import Call, Chain, Enqueueable, Step
from actorq.capability import Capability
from actorq.composition.completed import Completed
from actorq.composition.nursery import TaskNursery
from actorq.context import Context
from actorq.dead_letters import DeadLetter, DeadLetters, LetterReason
from actorq.depends import Depends
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.results import DummyResultBackend, InMemoryResultBackend
from actorq.engines.memory.schedules import InMemoryScheduleSource
from actorq.errors import (
    ActorFailed,
    ActorqError,
    ActorStopped,
    ArgumentsError,
    AskDeadlock,
    ChainBroken,
    DeadTaskNotFound,
    DuplicateTask,
    DuplicateTaskId,
    EngineUnavailable,
    EnqueueUncertain,
    EnvelopeError,
    LeaseLost,
    MailboxFull,
    MessageTooLarge,
    MiddlewareError,
    NameTaken,
    NoResult,
    NotAcknowledged,
    NotSerializable,
    OptionError,
    Reject,
    Requeued,
    ResultBackendError,
    ResultGetError,
    ResultIsReadyError,
    ResultSetError,
    RetriesExhausted,
    Retry,
    ScheduleNotFound,
    SkipSlot,
    StaleResult,
    SupervisorFailed,
    SystemClosed,
    SystemFailed,
    TaskCancelled,
    TaskDefinitionError,
    TaskExpired,
    TaskFailed,
    TaskLeftBehind,
    TaskNotBound,
    TaskTimeout,
    UnknownOption,
    UnsupportedOption,
    WorkerLost,
    WorkerProcessDied,
)
from actorq.handle import ProgressUpdates, TaskHandle
from actorq.ids import uuid4, uuid7
from actorq.kernel import Kernel, SupervisorRef, open_kernel
from actorq.limits import Concurrency, Per, Rate
from actorq.message import Fence, TaskId, TaskMessage
from actorq.middleware import Middleware
from actorq.options import AckMode, TaskOptions
from actorq.progress import Progress, TaskProgress
from actorq.protocol import DeadTask, QueuedTask, QueueStatistics, RunningJob, WorkerInfo
from actorq.ref import ActorRef, Message
from actorq.reply import Reply
from actorq.restart import Backoff, Restart, Strategy
from actorq.result import TaskResult
from actorq.retry import RetryPolicy
from actorq.schedule import CatchUp, Overlap, at, cron, every
from actorq.schedule_source import ScheduleHandle, ScheduleInfo, ScheduleSource
from actorq.schedule_state import Schedule
from actorq.schedules import Schedules
from actorq.signals import Signal, Terminated
from actorq.state import State
from actorq.statistics import MailboxStatistics, SupervisorStatistics
from actorq.system import System, open_system
from actorq.task import AsyncTask, SyncTask, Task, task
from actorq.unique import OnConflict, Unique
from actorq.wire import CBORSerializer, JSONSerializer, MsgpackSerializer, Serializer


if TYPE_CHECKING:
    from actorq.engines.by_url import broker_from_url
    from actorq.engines.postgres.broker import PostgresBroker
    from actorq.engines.postgres.results import PostgresResultBackend
    from actorq.engines.postgres.schedules import PostgresScheduleSource
    from actorq.engines.postgres.storage import PostgresStorage
    from actorq.engines.redis.broker import RedisBroker
    from actorq.engines.redis.results import RedisResultBackend
    from actorq.engines.redis.schedules import RedisScheduleSource
    from actorq.engines.redis.storage import RedisStorage
    from actorq.engines.sqlite.broker import SQLiteBroker
    from actorq.engines.sqlite.results import SQLiteResultBackend
    from actorq.engines.sqlite.schedules import SQLiteScheduleSource
    from actorq.engines.sqlite.storage import SQLiteStorage


__all__ = [
    "AckMode",
    "Actor",
    "ActorFailed",
    "ActorRef",
    "ActorStopped",
    "ActorqError",
    "ArgumentsError",
    "AskDeadlock",
    "AsyncTask",
    "Backoff",
    "Broker",
    "CBORSerializer",
    "Call",
    "Capability",
    "CatchUp",
    "Chain",
    "ChainBroken",
    "Completed",
    "Concurrency",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "DeadTask",
    "DeadTaskNotFound",
    "Depends",
    "DummyResultBackend",
    "DuplicateTask",
    "DuplicateTaskId",
    "EngineUnavailable",
    "EnqueueUncertain",
    "Enqueueable",
    "EnvelopeError",
    "Fence",
    "InMemoryBroker",
    "InMemoryResultBackend",
    "InMemoryScheduleSource",
    "JSONSerializer",
    "Kernel",
    "LeaseLost",
    "LetterReason",
    "MailboxFull",
    "MailboxStatistics",
    "Message",
    "MessageTooLarge",
    "Middleware",
    "MiddlewareError",
    "MsgpackSerializer",
    "NameTaken",
    "NoResult",
    "NotAcknowledged",
    "NotSerializable",
    "OnConflict",
    "OptionError",
    "Overlap",
    "Per",
    "PoolStatistics",
    "PostgresBroker",
    "PostgresResultBackend",
    "PostgresScheduleSource",
    "PostgresStorage",
    "Progress",
    "ProgressUpdates",
    "QueueStatistics",
    "QueuedTask",
    "Rate",
    "RedisBroker",
    "RedisResultBackend",
    "RedisScheduleSource",
    "RedisStorage",
    "Reject",
    "Reply",
    "Requeued",
    "Restart",
    "ResultBackend",
    "ResultBackendError",
    "ResultGetError",
    "ResultIsReadyError",
    "ResultSetError",
    "RetriesExhausted",
    "Retry",
    "RetryPolicy",
    "RunningJob",
    "SQLiteBroker",
    "SQLiteResultBackend",
    "SQLiteScheduleSource",
    "SQLiteStorage",
    "Schedule",
    "ScheduleHandle",
    "ScheduleInfo",
    "ScheduleNotFound",
    "ScheduleSource",
    "Schedules",
    "Serializer",
    "Signal",
    "SkipSlot",
    "StaleResult",
    "State",
    "Step",
    "Strategy",
    "SupervisorFailed",
    "SupervisorRef",
    "SupervisorStatistics",
    "SyncTask",
    "System",
    "SystemClosed",
    "SystemFailed",
    "Task",
    "TaskCancelled",
    "TaskDefinitionError",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskId",
    "TaskLeftBehind",
    "TaskMessage",
    "TaskNotBound",
    "TaskNursery",
    "TaskOptions",
    "TaskProgress",
    "TaskResult",
    "TaskTimeout",
    "Terminated",
    "Unique",
    "UnknownOption",
    "UnsupportedOption",
    "WorkerInfo",
    "WorkerLost",
    "WorkerProcessDied",
    "__version__",
    "at",
    "broker_from_url",
    "cron",
    "every",
    "open_kernel",
    "open_system",
    "task",
    "uuid4",
    "uuid7",
]

#: Where to find what is imported when it is first asked for: a fifth of the time for who has no file.
_LATER: Final = {
    "RedisBroker": "actorq.engines.redis.broker",
    "RedisResultBackend": "actorq.engines.redis.results",
    "RedisScheduleSource": "actorq.engines.redis.schedules",
    "RedisStorage": "actorq.engines.redis.storage",
    "PostgresBroker": "actorq.engines.postgres.broker",
    "PostgresResultBackend": "actorq.engines.postgres.results",
    "PostgresScheduleSource": "actorq.engines.postgres.schedules",
    "PostgresStorage": "actorq.engines.postgres.storage",
    "SQLiteBroker": "actorq.engines.sqlite.broker",
    "SQLiteResultBackend": "actorq.engines.sqlite.results",
    "SQLiteScheduleSource": "actorq.engines.sqlite.schedules",
    "SQLiteStorage": "actorq.engines.sqlite.storage",
    "broker_from_url": "actorq.engines.by_url",
}


if not TYPE_CHECKING:  # for which a slip in a name is one

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LATER[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})
