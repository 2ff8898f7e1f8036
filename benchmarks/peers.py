"""The peers' interpreter: this one if it has taskiq, else one of `.venv-bench`, made on demand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv

from measure import ROOT


VENV = ROOT / ".venv-bench"
TASKIQ = "taskiq>=0.11,<0.14"


def peer_python() -> str:
    """An interpreter that can import taskiq; raises `RuntimeError` if there is no getting one."""
    if importlib.util.find_spec("taskiq") is not None:
        return sys.executable
    python = str(VENV / "bin" / "python")
    if not _has_taskiq(python):
        print(f"making {VENV} with {TASKIQ} ...", file=sys.stderr)
        venv.create(VENV, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TASKIQ]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"taskiq cannot be installed:\n{done.stderr}")
    return python


def version_of(python: str, package: str) -> str:
    """The version of *package* that *python* has."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not installed"


def _has_taskiq(python: str) -> bool:
    try:
        return version_of(python, "taskiq") != "not installed"
    except OSError:
        return False
