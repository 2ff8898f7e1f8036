"""Two stores of one's own, proved: pytest runs all that the contracts demand.

Run it: pytest examples/proving_stores.py
"""

from __future__ import annotations

from actorq.testing import ResultBackendContract, ScheduleSourceContract
from file_result_backend import FileResultBackend
from file_schedule_source import FileScheduleSource


class TestFileResultBackend(ResultBackendContract):
    factory = FileResultBackend


class TestFileScheduleSource(ScheduleSourceContract):
    factory = FileScheduleSource
