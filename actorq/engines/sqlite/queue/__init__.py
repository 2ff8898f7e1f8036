"""The queue's law in SQL: each transition is a function of a connection, a step of the storage.

The same law as the reference (`actorq.engines.memory.queue`), with all state in the tables.
"""
