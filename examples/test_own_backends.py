"""Proving your own backends: the contracts, on the examples of this folder.

Run it: pytest examples/test_own_backends.py
"""

from __future__ import annotations

from actorq.testing import BrokerContract
from file_broker import FileBroker


class TestFileBroker(BrokerContract):
    factory = FileBroker
