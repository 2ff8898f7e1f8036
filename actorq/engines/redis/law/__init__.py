"""The law on a Redis server: Lua, put together from the files beside this one.

One text in two forms: a library of functions (`FUNCTION LOAD`, `FCALL`), which is set up once; and a
script (`EVALSHA`) for servers that have no functions or do not allow them, which makes its hundreds of
closures anew at each call.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Final

import attrs


#: The order: what others use comes first.  `queue*.lua` stand in the order of their names.
FIRST: Final = ("base",)
LAST: Final = ("results", "schedules", "entry")


@attrs.frozen
class Law:
    """The law in both forms.  Its names have a digest of the text: two versions can run side by side."""

    library: str  #: for FUNCTION LOAD
    careful: str  #: the function that is refused at its start when memory is used up
    anyway: str  #: the function that is done all the same: it frees memory, or keeps jobs alive
    careful_script: str  #: the same, for SCRIPT LOAD
    anyway_script: str


def parts() -> list[str]:
    """The files, in their order."""
    found = {
        each.name.removesuffix(".lua")
        for each in resources.files(__name__).iterdir()
        if each.name.endswith(".lua")
    }
    return [*FIRST, *sorted(found - {*FIRST, *LAST}), *LAST]


@cache
def law() -> Law:
    """Read it."""
    folder = resources.files(__name__)
    text = "\n".join([(folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts()])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = f"actorq_{digest}"
    return Law(
        library=f"#!lua name={name}\n{text}\n"
        f"redis.register_function{{function_name='{name}', callback=enter}}\n"
        f"redis.register_function{{function_name='{name}_anyway', callback=enter, "
        f"flags={{'allow-oom'}}}}\n",
        careful=name,
        anyway=f"{name}_anyway",
        careful_script=f"#!lua\n{text}\nreturn enter(KEYS, ARGV)\n",
        anyway_script=f"#!lua flags=allow-oom\n{text}\nreturn enter(KEYS, ARGV)\n",
    )
