"""Mutants: engines, result backends and schedule sources that break one promise each.

What shows that the contracts would notice: `python -m actorq.testing report` lists which test caught
which.
"""
