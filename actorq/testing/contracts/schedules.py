"""What every schedule source must do, whatever it keeps schedules in.

Subclass `ScheduleSourceContract`, say how to make your source, and pytest runs it:

    class TestMine(ScheduleSourceContract):
        factory = MySource

Real clock, no sleeping: a source may use threads, files and sockets.  A source has one promise to
keep, 40: each slot is enqueued once.  What it forgets, undoes or mixes up would break that.
"""

from __future__ import annotations

from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.schedule_keeping import KeepsSchedules
from actorq.testing.contracts.schedule_sharing import SharesSchedules


class ScheduleSourceContract(SharesSchedules, KeepsSchedules):  # run from the right
    """Subclass it: `class TestMine(ScheduleSourceContract): factory = MySource`.

    What *factory* makes must be new and empty.  What the source declares in `lacks` is skipped.
    """

    @promised(40)
    def test_it_does_what_a_dictionary_does(self) -> None:
        """Drawn operations of several users at once, on it and on a model; new processes too."""
        from actorq.testing.contracts.schedule_machine import run_schedule_machine

        run_schedule_machine(type(self))

    @promised(40)
    def test_several_schedulers_fire_each_slot_once(self) -> None:
        """Whoever crashes, and however late they look; under each policy for missed slots."""
        from actorq.testing.contracts.schedule_race import race

        race(type(self), self.limit)
