"""What PostgreSQL's errors mean for who runs actorq, and what to do."""

from __future__ import annotations

from typing import Final

from psycopg import Error


#: By SQLSTATE, or the class of it.
ADVICE: Final = {
    "53100": "its disk is full: make room there, then it goes on by itself",
    "53200": "it has no memory left: look at its shared_buffers, work_mem and what else runs there",
    "53300": "it has no connection left; each process of actorq needs two: raise max_connections, or "
    "run fewer processes",
    "53": "it lacks something",
    "57P03": "it starts up, shuts down or recovers: wait",
    "57P01": "an administrator ended the connection, or it shuts down",
    "57P02": "it crashed, and restarts",
    "57014": "the statement was ended, by statement_timeout or by an administrator",
    "25006": "it is read-only: a standby, or default_transaction_read_only is on. Connect to the "
    "primary: name all hosts, as in postgresql://one,two/db?target_session_attrs=read-write",
    "28P01": "the password is wrong, or none was given",
    "28000": "pg_hba.conf does not let this user in from here",
    "3D000": "create the database first, or name another: postgresql://user@host/database",
    "42501": "the user lacks a right: see the page on PostgreSQL, permissions",
    "42P13": "is a function of yours in that schema? Give actorq a schema of its own, "
    "PostgresBroker(..., schema='another_name')",
    "2BP01": "something of yours depends on a function of actorq: drop it first",
    "0A000": "it does not know something that actorq needs: version 13 or later is expected",
    "role": "create the user, or name another: postgresql://user@host/database",
    "nobody": "expected a PostgreSQL server there: does it run, and does the URL name its host and "
    "port?",
    "tls": "turn ssl on there, or leave sslmode out of the URL",
    "58030": "it cannot read or write its files: look into its log",
    "XX001": "its data are damaged: look into its log",
    "XX002": "an index is damaged: look into its log, reindex",
}


#: What a server says to who connects has no SQLSTATE for us: words of it, which have that meaning.
_SAID: Final = {
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "starting up": "57P03",
    "shutting down": "57P03",
    "in recovery mode": "57P03",
    "not accepting connections": "57P03",
    "not yet accepting connections": "57P03",
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    'database "': "3D000",
    'role "': "role",
    "failed to resolve host": "nobody",
    "no answer within": "nobody",
    "received invalid response": "nobody",
    "server does not support SSL": "tls",
    "session is read-only": "25006",
    "is not the primary": "25006",
}


def state_of(error: BaseException) -> str:
    """The SQLSTATE; "" if the server did not say one."""
    return getattr(error, "sqlstate", None) or ""


def explained(error: BaseException) -> str:
    """In one line, with what to do where that is known.  Never has a password."""
    text = " ".join(f"{error}".split()) or type(error).__name__
    if isinstance(error, Error) and error.diag.message_primary:
        text = error.diag.message_primary
        if error.diag.message_detail:
            text += f" ({error.diag.message_detail})"
    state = state_of(error)
    meant = state or next((state for words, state in _SAID.items() if words in text), "")
    advice = ADVICE.get(meant) or ADVICE.get(meant[:2])
    text += f" [{state}]" if state else ""
    return f"{text}: {advice}" if advice else text
