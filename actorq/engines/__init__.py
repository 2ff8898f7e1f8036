"""Engines: where queues, results and schedules are kept.  One engine is one file or folder."""
