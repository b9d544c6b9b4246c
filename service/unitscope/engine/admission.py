"""Who is taken in: what there is no room for, or no time, is refused at the door."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.batches import Batches
from unitscope.engine.climber import Climber
from unitscope.engine.job import Job
from unitscope.engine.plan import Plan
from unitscope.engine.request import PRIORITIES, Caller
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
        """Raises DeadlineExceeded for what would not be done in time, with all steps.

        It would not be even if nobody else came, beside those who are here.
        """
        given = caller.timeout_seconds
        given = caller.useful_seconds if given is None else given
        if given is None or _may_end_early(plan):
            return
        needed = max(_seconds(plan, self.batches.row_seconds), self._seconds_beside(plan, caller))
        if needed > given:
            raise DeadlineExceeded(
                f"{plan.accepted().steps} steps take about {needed:.1f} s beside "
                f"{len(self.jobs)} other requests, the caller waits {given:.1f} s"
            )

    def _seconds_beside(self, plan: Plan, caller: Caller) -> float:
        """How long the others leave to it, if rows take the least time that they ever took.

        Until it is done each of its client's requests has as much time as it has, or all that it
        needs, and so each client, by their weights. Who may end early counts for nothing.
        """
        least, weight = self.batches.least_row_seconds, PRIORITIES[caller.priority]
        alone = _seconds(plan, least)
        own = alone
        others, lightest = defaultdict[str, float](float), dict[str, float]()
        for job in self.jobs:
            client, of_job = job.caller.client, PRIORITIES[job.caller.priority]
            left = 0.0 if _may_end_early(job.plan) else job.remaining * least(job.spec)
            if client != caller.client:
                others[client] += left
                lightest[client] = min(of_job, lightest.get(client, of_job))
            elif of_job >= weight:
                own += min(left, alone)
        return own + sum(
            min(left, own * lightest[client] / weight) for client, left in others.items()
        )


def _may_end_early(plan: Plan) -> bool:
    return plan.request.target is not None or plan.request.patience_steps is not None


def _seconds(plan: Plan, each: Callable[[ProgramSpec], float]) -> float:
    """All steps of all attempts; `each`: seconds of one."""
    steps = sum(stage.steps * each(stage.spec) for stage in plan.stages)
    return plan.request.attempts * steps
