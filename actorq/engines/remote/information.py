"""What a server says of itself, for `actorq doctor`, `actorq status`, and for who asks in a program."""

from __future__ import annotations

from typing import Literal, NamedTuple

import attrs


Level = Literal["ok", "warning", "problem"]


class Remark(NamedTuple):
    """Something that was looked at on the server: its settings, what we may do there."""

    check: str  #: what, in a word or two: "persistence"
    level: Level  #: "warning": it works, and should be looked at; "problem": accepted tasks may be lost
    says: str  #: how it is: "appendonly yes, appendfsync everysec: a power cut loses a second"
    advice: str = ""  #: what to change; unless all is well


@attrs.frozen
class ServerInformation:
    """Of the server on which a storage is."""

    where: str  #: as the storage says it, without passwords
    server: str = ""  #: "Redis 7.0.15"
    size: int | None = (
        None  #: bytes that our data take there, or all that it holds: see the remarks
    )
    remarks: tuple[Remark, ...] = ()
