"""The peers' interpreter: this one if it has them all, else one of `.venv-bench`, made on demand."""

from __future__ import annotations

import subprocess
import sys
import venv

from measure import ROOT


VENV = ROOT / ".venv-bench"
PEERS = {
    "taskiq": "taskiq>=0.11,<0.14",
    "taskiq-redis": "taskiq-redis>=1.2,<2",
    "huey": "huey>=3.5,<4",
    "uvloop": "uvloop>=0.21",  # of taskiq's best settings
}


def peer_python() -> str:
    """An interpreter that can import the peers; raises `RuntimeError` if there is no getting one."""
    if _has_all(sys.executable):
        return sys.executable
    python = str(VENV / "bin" / "python")
    if not _has_all(python):
        print(f"making {VENV} with {', '.join(PEERS)} ...", file=sys.stderr)
        venv.create(VENV, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *PEERS.values()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the peers cannot be installed:\n{done.stderr}")
    return python


def version_of(python: str, package: str) -> str:
    """The version of *package* that *python* has."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not installed"


def _has_all(python: str) -> bool:
    try:
        return all(version_of(python, name) != "not installed" for name in PEERS)
    except OSError:
        return False
