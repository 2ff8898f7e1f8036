"""Proving your own backends: the contracts, on the examples of this folder.

Run it: pytest -rs examples/test_own_backends.py
"""

from __future__ import annotations

from actorq.testing import BrokerContract, ResultBackendContract
from file_broker import FileBroker
from file_result_backend import FileResultBackend


class TestFileBroker(BrokerContract):
    factory = FileBroker
    max_examples = 25  # of drawn programs; each writes the file about a hundred times


class TestFileResultBackend(ResultBackendContract):
    factory = FileResultBackend
