"""What the engines have in common whose law runs on a server: Redis, PostgreSQL.

The law is a script there (Lua, PL/pgSQL); a call of it is one step, atomic, that waits for no client.
Here is the client's side, written once: the calls and their answers, that each is done exactly once
though connections break, what the broker, the result backend and the schedule source make of them.
"""
