"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

from servers.process import NotInstalled, Server, dismiss, guarded_folder, named, setting, which


PACKAGE: Final = "postgresql"
#: An environment variable: the folder of another version's `postgres` and `initdb`.
BIN: Final = "ACTORQ_TEST_POSTGRES_BIN"


class PostgresServer(Server):
    """A PostgreSQL server.  *settings*: as in postgresql.conf.

    For "nothing is lost when it dies" say `fsync=True`; without, only its processes may die, not the
    machine, and it is much faster.
    """

    name = "postgres"

    def __init__(self, *, disk: str | None = None, **settings: Any) -> None:
        super().__init__(disk=disk)
        self.settings = {
            "fsync": False,
            "full_page_writes": settings.get("fsync", False),
            "shared_buffers": "32MB",
            "max_connections": 200,
            "log_checkpoints": False,
            **settings,
        }

    @property
    def url(self) -> str:
        """For clients, by TCP."""
        return self.url_at(self.port)

    @property
    def conninfo(self) -> str:
        """The same as libpq writes it."""
        return f"host=127.0.0.1 port={self.port} user=actorq dbname=postgres"

    def url_at(self, port: int) -> str:
        """The same by another port: a proxy's."""
        return f"postgresql://actorq@127.0.0.1:{port}/postgres"

    @property
    def account(self) -> str | None:
        """It refuses to be run by root."""
        return "postgres" if os.geteuid() == 0 else None

    def command(self) -> list[str]:
        """What is run."""
        settings: dict[str, Any] = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.data.parent,
            **self.settings,
        }
        given = [
            word for key, value in settings.items() for word in ("-c", f"{key}={setting(value)}")
        ]
        return [program("postgres"), "-D", str(self.data), *given]

    def prepare(self) -> None:
        """A new cluster; made once for all servers of this process."""
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", str(_cluster(self.account)), str(self.data)], check=True)

    def launch(self) -> None:
        """Run it."""
        # after a SIGKILL it stands there yet, and the number in it may be another process's by now
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super().launch()

    def is_ready(self) -> bool:
        """It accepts connections."""
        import psycopg

        try:
            self.ask("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def is_writable(self) -> bool:
        """It commits."""
        import psycopg

        try:
            self.ask("create table if not exists actorq_is_writable (one int)")
            self.ask("insert into actorq_is_writable values (1)")
        except psycopg.Error:
            return False
        return True

    def ask(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """One statement, on a connection of its own, as an administrator would."""
        import psycopg

        with psycopg.connect(self.conninfo, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []


def program(name: str) -> str:
    """In the folder that `ACTORQ_TEST_POSTGRES_BIN` names; else the newest there is."""
    if chosen := os.environ.get(BIN):
        return named(str(Path(chosen) / name), BIN)
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name)
    )
    for folder in installed:
        if (folder / name).exists():
            return str(folder / name)
    return which(name, PACKAGE)


@cache
def _cluster(account: str | None) -> Path:
    folder, guardian = guarded_folder("initdb")
    atexit.register(dismiss, guardian)
    if account is not None:
        try:
            shutil.chown(folder, account, account)
        except LookupError as error:
            raise NotInstalled(f"as root, PostgreSQL needs the account {account!r}") from error
    made = subprocess.run(
        [
            *(program("initdb"), "-D", str(folder / "data"), "-U", "actorq", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"),
        ],
        capture_output=True,
        check=False,
        text=True,
        cwd=folder,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
    )
    if made.returncode:
        raise RuntimeError(f"initdb: {made.stderr}")
    return folder / "data"


def version() -> str:
    """Of the server that would be run: "PostgreSQL 18.4"."""
    said = subprocess.run(
        [program("postgres"), "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\((PostgreSQL)\) ([\d.]+)", said.stdout)
    assert found is not None, said.stdout
    return " ".join(found.groups())
