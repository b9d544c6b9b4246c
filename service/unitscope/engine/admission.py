"""Who is taken in: what there is no room for, or no time, is refused at the door."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from unitscope.engine.batches import Batches
from unitscope.engine.climber import Climber
from unitscope.engine.job import Job
from unitscope.engine.plan import Plan
from unitscope.engine.request import Caller
from unitscope.engine.scheduler import Scheduler
from unitscope.errors import DeadlineExceeded, QueueFull


@dataclass(frozen=True, slots=True)
class Admission:
    """Of an engine, whose lock is held by who asks. `jobs`: the requests it has, as they change."""

    jobs: Collection[Job]
    scheduler: Scheduler[Job]
    climber: Climber
    batches: Batches
    max_requests: int
    max_requests_per_client: int

    def seconds_until_room(self) -> float:
        """Until the shortest running request ends, all of them taking turns."""
        shortest = min((job.remaining for job in self.jobs), default=0)
        return max(shortest * self.scheduler.running * self.climber.row_seconds, 0.1)

    def check_room(self, client: str) -> None:
        """Raises QueueFull where there is none, or none for `client`."""
        taken = len(self.jobs)
        own = sum(job.caller.client == client for job in self.jobs)
        if taken >= self.max_requests or own >= self.max_requests_per_client:
            raise QueueFull(taken - self.scheduler.running, self.seconds_until_room())

    def check_model(self, plan: Plan) -> None:
        """A model's card may say how many requests it has at most, all versions together.

        Raises QueueFull.
        """
        name, limit = plan.model.info.name, plan.model.subject.card.max_requests
        own = sum(job.plan.model.info.name == name for job in self.jobs)
        if limit and own >= limit:
            raise QueueFull(own, self.seconds_until_room(), model=name)

    def check_time(self, plan: Plan, caller: Caller) -> None:
        """Raises DeadlineExceeded for what would not be done in time even alone, with all steps."""
        if plan.request.target is not None or plan.request.patience_steps is not None:
            return
        each = sum(stage.steps * self.batches.row_seconds(stage.spec) for stage in plan.stages)
        needed, given = plan.request.attempts * each, caller.timeout_seconds
        given = caller.useful_seconds if given is None else given
        if given is not None and needed > given:
            raise DeadlineExceeded(
                f"{plan.accepted().steps} steps take about {needed:.1f} s, "
                f"the caller waits {given:.1f} s"
            )
