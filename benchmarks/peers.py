"""The peers' interpreters: one virtual environment for each, in `.venv-bench`, made on demand.

One for each, as their versions of the same drivers clash.
"""

from __future__ import annotations

import subprocess
import sys
import venv

from measure import ROOT


VENV = ROOT / ".venv-bench"

#: What each environment holds.
PEERS: dict[str, tuple[str, ...]] = {
    "taskiq": ("taskiq>=0.11,<0.14", "taskiq-redis>=1.2,<2", "uvloop>=0.21"),
    "huey": ("huey>=3.5,<4", "redis>=5"),
    "streaq": ("streaq>=7,<8", "trio>=0.34", "uvloop>=0.21"),
    "arq": ("arq>=0.26,<0.29", "uvloop>=0.21"),
    # it needs typing_extensions, and does not say so
    "saq": ("saq[hiredis]>=0.26,<0.27", "typing_extensions>=4", "uvloop>=0.21"),
    "dramatiq": ("dramatiq[redis]>=2,<3",),
    "celery": ("celery[redis]>=5.5,<6",),
    "rq": ("rq>=2,<3",),
    "procrastinate": ("procrastinate>=3,<4", "psycopg[binary]>=3.2", "uvloop>=0.21"),
    "pgqueuer": ("pgqueuer>=1,<2", "asyncpg>=0.29", "psycopg[binary]>=3.2", "uvloop>=0.21"),
}


def peer_python(peer: str) -> str:
    """An interpreter that can import *peer*; raises `RuntimeError` if there is no getting one."""
    folder = VENV / peer
    python = str(folder / "bin" / "python")
    made = folder / "made"
    wanted = "\n".join(PEERS[peer])
    if not made.exists() or made.read_text() != wanted:
        print(f"making {folder} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *PEERS[peer]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{peer} cannot be installed:\n{done.stderr}")
        made.write_text(wanted)
    return python


def version_of(python: str, package: str) -> str:
    """The version of *package* that *python* has."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return done.stdout.strip() or "not installed"


def versions(peers: list[str]) -> dict[str, str]:
    """Of each peer and of what it talks to its server with."""
    drivers = ("redis", "coredis", "taskiq-redis", "asyncpg", "psycopg")
    found = {}
    for peer in peers:
        python = str(VENV / peer / "bin" / "python")
        names = {name: version_of(python, name) for name in (peer, *drivers)}
        own = names.pop(peer)
        with_ = [f"{name} {each}" for name, each in names.items() if each != "not installed"]
        found[peer] = f"{own} ({', '.join(with_)})" if with_ else own
    return found
