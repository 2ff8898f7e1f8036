"""Values as plain JSON data and back: one strict cattrs converter, and what may not pass it.

Owns what a task's arguments, results and progress may be.  A hook refuses what would lose meaning
(`3.7` for an int, a datetime where no annotation would bring it back) and names the path.
What is dumped shares no container with its source, and neither does what is loaded.

To teach it a class of your own, register a structure and an unstructure hook on `converter` before
the class is used first: compiled annotations are kept.

From the bottom:

misfit, hook              what went wrong, and where; what converts
annotations               what an annotation says
scalars, text, plain      codecs that need no other annotation's
models                    pydantic's classes, which bring readers and writers of their own
choices, containers,      codecs that do: they are given the function that finds it
classes
dispatch                  from an annotation to one of these
conversion                the converter, and what everybody calls
"""

from actorq.serialization.conversion import (
    carries,
    codec,
    converter,
    dump,
    dumper,
    load,
    loader,
    plain_data,
)
from actorq.serialization.hook import Codec
from actorq.serialization.misfit import MAX_DEPTH, Misfit


__all__ = [
    "MAX_DEPTH",
    "Codec",
    "Misfit",
    "carries",
    "codec",
    "converter",
    "dump",
    "dumper",
    "load",
    "loader",
    "plain_data",
]
