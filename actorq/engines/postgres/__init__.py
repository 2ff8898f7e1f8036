"""The PostgreSQL engine: the law in PL/pgSQL, run by the server."""

try:
    import psycopg as _psycopg  # noqa: F401 - said here, for all modules of this package
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the PostgreSQL engine needs psycopg: pip install 'actorq[postgres]'", name=missing.name
    ) from None
