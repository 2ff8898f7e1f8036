"""Composition: several tasks as one thing that begins, ends and fails together.

Everything here ends in a task nursery: who leaves the block leaves no task behind.
"""
