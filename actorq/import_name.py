"""The import name: how another process finds a task's function."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from actorq.errors import TaskDefinitionError


class ImportName(NamedTuple):
    """`from module import qualname`."""

    module: str
    qualname: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> ImportName:
        """The name that *function* says it has; `TaskDefinitionError` if none can lead to it."""
        name = cls(function.__module__, function.__qualname__)
        if "<" in name.qualname:
            what = "a lambda" if "<lambda>" in name.qualname else "defined inside another function"
            raise TaskDefinitionError(
                f"{name.qualname} is {what}: executor='process' imports the function in another "
                f"process, by its name; define it with `def` at the top of a module"
            )
        if name.module == "__main__" and not _main_can_be_imported():
            raise TaskDefinitionError(
                f"{name.qualname} is defined in no file: executor='process' imports the function in "
                f"another process; write it into a module, and import it from there"
            )
        return name

    def find(self) -> Any:
        """What has this name; `ImportError` or `AttributeError` if nothing has."""
        found: Any = importlib.import_module(self.module)
        for part in self.qualname.split("."):
            found = getattr(found, part)
        return found

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


def home_of(function: Callable[..., Any]) -> str:
    """The module of *function*, as others import it.

    The program that is run is `__main__` to itself; a worker that imports the same file knows it by
    the file's name.
    """
    module: str = function.__module__
    if module != "__main__":
        return module
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    stem, suffix = os.path.splitext(os.path.basename(getattr(main, "__file__", None) or ""))
    return stem if suffix == ".py" and stem.isidentifier() else module


def _main_can_be_imported() -> bool:
    """Whether this program is a file or a module, and nothing typed in."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)  # "<stdin>" if it came from there
    return getattr(main, "__spec__", None) is not None or (
        file is not None and os.path.exists(file)
    )
