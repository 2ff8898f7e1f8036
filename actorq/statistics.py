"""Statistics: frozen pictures of mailboxes and supervisors, for people and for tests."""

from __future__ import annotations

import attrs


@attrs.frozen
class MailboxStatistics:
    """One actor at one moment."""

    name: str
    state: str  #: starting | running | down | stopped
    capacity: float  #: messages that may wait
    queued: int  #: messages that wait now
    peak_queued: int  #: the most that ever waited
    accepted: int  #: messages that passed the mailbox
    handled: int  #: of these, handled to their end
    crashed: int  #: of these, whose handler raised
    interrupted: int  #: of these, whose handler was cancelled
    undelivered: int  #: of these, never begun: the actor ended before
    restarts: int  #: incarnations after the first


@attrs.frozen
class SupervisorStatistics:
    """One supervisor and everything under it at one moment."""

    name: str
    state: str  #: starting | running | down | stopped
    strategy: str
    incidents: int  #: crashes and failed starts since it began
    recent_incidents: int  #: of these, inside the period that counts against the intensity
    intensity: int
    period: float  #: seconds
    children: tuple[MailboxStatistics | SupervisorStatistics, ...]  #: in start order

    def find(self, name: str) -> MailboxStatistics | SupervisorStatistics:
        """The actor or supervisor called *name* at or below here, or `LookupError`."""
        if self.name == name:
            return self
        for child in self.children:
            if child.name == name:
                return child
            if isinstance(child, SupervisorStatistics):
                try:
                    return child.find(name)
                except LookupError:
                    continue
        raise LookupError(f"no actor or supervisor called {name!r} under {self.name!r}")
