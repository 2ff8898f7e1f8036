"""What a user's type checker says of a user's calls, by mypy and by pyright."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
TYPED = ROOT / "tests" / "typing" / "typed_calls.py"
WRONG = ROOT / "tests" / "typing" / "wrong_calls.py"

#: Where a checker sees an error: file, line.  And what it says there.
Errors = dict[tuple[str, int], list[str]]


def mypy_s() -> Errors:
    """As strict as the project's own run."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: it is in the dependency group lint")
    out = run(sys.executable, "-m", "mypy", "--no-pretty", "--no-color-output", TYPED, WRONG)
    errors: Errors = defaultdict(list)
    for line in out.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            errors[Path(match[1]).name, int(match[2])].append(match[3])
    return errors


def pyright_s() -> Errors:
    """With the settings of [tool.pyright]."""
    program = shutil.which("pyright", path=Path(sys.executable).parent) or shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is not installed: it is in the dependency group lint")
    if subprocess.run([program, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("pyright is installed, but not what it fetches at its first run")
    out = run(program, "--outputjson", "--pythonpath", sys.executable, TYPED, WRONG)
    errors: Errors = defaultdict(list)
    for said in json.loads(out)["generalDiagnostics"]:
        if said["severity"] == "error":
            line = said["range"]["start"]["line"] + 1
            errors[Path(said["file"]).name, line].append(said["message"])
    return errors


def run(*command: str | Path) -> str:
    """What it prints; 1 says that it found errors, 2 that it could not work."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("errors_of", [mypy_s, pyright_s])
def test_right_calls_pass_and_wrong_ones_do_not(errors_of: Callable[[], Errors]) -> None:
    """No error in `typed_calls.py`; in `wrong_calls.py` one on each marked line, and on no other."""
    found = {
        place: said for place, said in errors_of().items() if place[0] in (TYPED.name, WRONG.name)
    }
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    marked = {(WRONG.name, n) for n, line in enumerate(lines, 1) if line.endswith("  # error")}
    assert len(marked) > 40
    unexpected = {place: said for place, said in found.items() if place not in marked}
    assert not unexpected
    missed = [f"{name}:{n}: {lines[n - 1].strip()}" for name, n in sorted(marked - found.keys())]
    assert not missed
