"""Imports flow one way: the run-time import graph has no circle and its layers only go down.

Read from the sources, so that an import in a function counts as well; what stands under
`if TYPE_CHECKING:` is free.  That a module's packages are imported before it is Python's doing, and
is left out.
"""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import actorq


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "actorq"

#: From the bottom: the map in the docstring of `actorq/__init__.py`.  A name stands for a module, or
#: for a package with all that is in it.
LAYERS: dict[str, set[str]] = {
    "what everything may need": {"_version", "errors", "ids", "environment", "capability"},
    "values: what travels": {
        *("context", "message", "options", "parameters", "progress", "remote_error", "result"),
        *("retry", "serialization", "signature", "task"),
        *(
            "import_name",
            "limits",
            "queue_choice",
            "state",
            "unique",
            "terms",
            "call",
            "call_message",
            "succession",
        ),
        *("depends", "dependency_graph", "dependencies"),
        "requirements",
        "wire",
        *("crontab", "schedule", "fields", "trigger_form", "schedule_state", "schedule_table"),
    },
    "the kernel": {
        *("actor", "cell", "dead_letters", "incarnation", "kernel", "mailbox", "ref", "reply"),
        *("restart", "signals", "statistics", "supervisor", "tap", "timers", "whereabouts"),
    },
    "what the five actors share": {
        *("configuration", "engine"),
        *("attempt", "captured_log", "chain", "clock", "conclusion", "dependency_resolver", "job"),
        *("ahead", "lifespan", "middleware", "process_child", "processes", "protocol", "reporter"),
        *("runner", "sessions", "slots", "wiring"),
        "schedule_source",
    },
    "the five actors": {"actors"},
    "engines and what is plugged in": {"engines", "middlewares"},
    "what the user holds": {"handle", "composition", "operations", "schedules", "system"},
    "the package": {"actorq"},
    "tools for tests": {"testing"},
    "the command line": {"cli", "__main__"},
}

#: No Trio behind these at all: values, and the pure states of the kernel and the memory engine.
PURE = {
    *("errors", "ids", "environment", "dead_letters", "restart", "signals", "statistics"),
    *(LAYERS["values: what travels"] - {"terms", "task", "call_message"}),
    *("middleware", "sessions", "slots", "engines.memory.lease", "engines.memory.sealed"),
}
#: No Trio in these, but behind them: their messages are the kernel's `Message`, which lives beside
#: the ref; their states run without an event loop all the same.
PURE_BESIDE_MESSAGES = {
    "protocol",
    "engines.memory.chains",
    "engines.memory.queue",
    "engines.memory.results",
}


def modules_of(package: Path) -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def run_time_imports(tree: ast.AST, module: str, *, is_package: bool, known: set[str]) -> set[str]:
    """What this module imports at run time, down to a module where *known* has it."""
    found: set[str] = set()
    home = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                visit(statement)
            return
        if isinstance(node, ast.ImportFrom):
            up = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*up, node.module]))
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found.add(submodule if submodule in known else base)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):  # in functions too
            visit(child)

    visit(tree)
    return found


def imports_of(package: Path) -> dict[str, set[str]]:
    """What each module imports, of the package and of others."""
    modules = modules_of(package)
    return {
        module: run_time_imports(
            ast.parse(path.read_text(encoding="utf-8")),
            module,
            is_package=path.name == "__init__.py",
            known=set(modules),
        )
        for module, path in modules.items()
    }


SOURCES = {one: path.read_text(encoding="utf-8") for one, path in modules_of(PACKAGE).items()}
IMPORTS = imports_of(PACKAGE)
GRAPH = {module: {one for one in found if one in IMPORTS} for module, found in IMPORTS.items()}


def layer_of(module: str) -> int:
    """Its place in the map, from the bottom."""
    names = {module.removeprefix("actorq.").split(".")[0]}
    (place,) = [i for i, layer in enumerate(LAYERS.values()) if names & layer] or [-1]
    return place


def behind(module: str) -> set[str]:
    """Everything that is imported when this module is, of other packages too."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for one in IMPORTS.get(todo.pop(), ()):
            if one not in seen:
                seen.add(one)
                todo.append(one)
    return seen


def expanded(names: set[str]) -> Iterator[str]:
    """The modules that these names of the map stand for."""
    for name in sorted(names):
        whole = f"actorq.{name}"
        found = [one for one in IMPORTS if one == whole or one.startswith(f"{whole}.")]
        assert found, f"there is no actorq.{name}"
        yield from found


def is_trio(imported: str) -> bool:
    """Whether an event loop comes with it."""
    return imported.split(".")[0] in {"trio", "trio_util"}


def test_the_graph_has_no_circle() -> None:
    """An import in a function counts: it hides a circle, it does not open it."""
    list(graphlib.TopologicalSorter(GRAPH).static_order())  # CycleError names the circle


def test_every_module_is_on_the_map() -> None:
    """A new module is given its place."""
    lost = [module for module in IMPORTS if layer_of(module) < 0]
    assert not lost, f"give these a layer here and in the docstring of actorq/__init__.py: {lost}"


def test_imports_only_go_down() -> None:
    """Within a layer, or to one below."""
    upward = {
        (module, one)
        for module, found in GRAPH.items()
        for one in found
        if layer_of(one) > layer_of(module)
    }
    assert upward == set()


def test_the_map_in_the_docstring_is_this_one() -> None:
    """In its left column each name stands no lower than those of the lines above."""
    text = ast.get_docstring(ast.parse(SOURCES["actorq"]))
    assert text is not None
    columns = [line[:45].rstrip() for line in text.split("\n\n")[-1].splitlines()]
    names = " ".join(columns).replace("/", "").replace(",", " ").split()
    places = [layer_of(name) for name in names]
    assert len(names) > 20
    assert -1 not in places, names
    assert places == sorted(places)


def test_the_kernel_knows_nothing_of_queues() -> None:
    """It can be used on its own."""
    allowed = {*expanded(LAYERS["what everything may need"]), *expanded(LAYERS["the kernel"])}
    for module in expanded(LAYERS["the kernel"]):
        assert GRAPH[module] <= allowed, module


def test_the_five_actors_do_not_import_one_another() -> None:
    """They know messages and refs."""
    for module in expanded(LAYERS["the five actors"]):
        assert not [one for one in GRAPH[module] if one.startswith("actorq.actors.")], module


def test_nothing_imports_the_tools_for_tests() -> None:
    """They may need what an application has not installed."""
    for module, found in GRAPH.items():
        if not module.startswith("actorq.testing"):
            assert not [one for one in found if one.startswith("actorq.testing")], module


def test_nothing_pure_has_trio_behind_it() -> None:
    """Directly or through what it imports."""
    for module in expanded(PURE):
        assert not [one for one in {module} | behind(module) if is_trio(one)], module


def test_what_is_pure_beside_messages_imports_no_trio() -> None:
    """And is in that list only as long as it must be."""
    for module in expanded(PURE_BESIDE_MESSAGES):
        assert not [one for one in IMPORTS[module] if is_trio(one)], module
        assert "actorq.ref" in behind(module), f"{module} belongs to PURE now"


def test_a_file_begins_with_what_it_is() -> None:
    """`_version` alone is nothing to read."""
    bare = [module for module in IMPORTS if not ast.get_docstring(ast.parse(SOURCES[module]))]
    assert set(bare) <= {"actorq._version"}


def test_nothing_uses_trio_util_s_defer_to() -> None:
    """Its functions start system tasks, which no scope of ours ends."""
    assert not [module for module, source in SOURCES.items() if "defer_to" in source]


def test_import_actorq_brings_only_what_it_needs() -> None:
    """In a fresh interpreter, and without what Trio alone brings."""
    program = (
        "import json, sys, trio\n"
        "before = set(sys.modules)\n"
        "import actorq\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    brought = json.loads(ran.stdout)
    assert "actorq.system" in brought
    assert not [one for one in brought if one.startswith("actorq.testing")]
    heads = {one.split(".")[0] for one in brought if not one.startswith("_")}
    assert not heads & {"asyncio", "hypothesis", "pytest", "cronsim", "sqlite3"}
    assert not [one for one in brought if one.startswith(("actorq.cli", "actorq.engines.sqlite"))]
    # the core's four packages, and what cattrs and trio-util need themselves
    needed = {"trio", "trio_util", "async_generator"}
    needed |= {"attr", "attrs", "cattr", "cattrs", "typing_extensions"}
    assert heads - {"actorq"} - sys.stdlib_module_names <= needed


def test_all_that_is_exported_is_there() -> None:
    """What is imported later, too; a slip in a name is told as Python does."""
    assert set(actorq.__all__) <= set(dir(actorq))
    assert all(hasattr(actorq, name) for name in actorq.__all__)
    with pytest.raises(AttributeError, match="module 'actorq' has no attribute 'SQLBroker'"):
        _ = actorq.SQLBroker  # type: ignore[attr-defined]


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    """A guard that sees nothing would be content with anything."""
    package = tmp_path / "made"
    (package / "inner").mkdir(parents=True)
    sources = {
        "__init__.py": "from made.one import a",
        "one.py": "def late():\n    from made import two",
        "two.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import made.one\n",
        "inner/__init__.py": "from .leaf import x",
        "inner/leaf.py": "from ..two import y\nimport trio.lowlevel",
    }
    for name, source in sources.items():
        (package / name).write_text(source)
    assert imports_of(package) == {
        "made": {"made.one"},
        "made.one": {"made.two"},
        "made.two": {"typing"},
        "made.inner": {"made.inner.leaf"},
        "made.inner.leaf": {"made.two", "trio.lowlevel"},
    }
    (package / "two.py").write_text("def late():\n    import made.one")
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(imports_of(package)).static_order())
