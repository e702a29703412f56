"""Decoding and scoring on a Ray cluster, for the extra `cluster`.

Each actor decodes a recording and scores it at once, so that no waveform ever travels:
a task is a path, and what comes back are its scores. The driver alone commits, so that
what a lost node had begun is simply done again.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.profile import Profile
from ser_batch.engine.analyst import Analyst
from ser_batch.engine.engine import TICK, Finished, Tick
from ser_batch.engine.ray_connection import connected, first_line
from ser_batch.errors import ClusterError, FailureKind, UsageError
from ser_batch.speech.decoded import (
    Failed,
    Job,
    Task,
    past_deadline,
    unexpected,
)

TICK_S = 1.0
LOOK_S = 5.0
"""How often the cluster is asked for new nodes."""
TASKS_PER_ACTOR = 2
"""One in progress, and one queued, so that it need not wait for the driver."""
MAX_FAILED_STARTS = 4
MAX_DEATHS = 3
"""A recording whose actors died this often is to blame: they also die with their nodes,
which Ray does not tell apart."""
GRACE_S = 5.0


@dataclass
class _Actor:
    handle: Any
    ready: Any
    """What is answered when everything is loaded."""
    is_ready: bool = False
    tasks: deque[tuple[Task, Any]] = field(default_factory=deque)
    """With what will be answered; the first is in progress."""
    since: float = field(default_factory=time.monotonic)
    """When the first was begun."""


@dataclass(frozen=True)
class RayEngine:
    """Analyses recordings with an actor for each core, or each GPU, of a cluster."""

    address: str | None
    """Of a cluster; None starts Ray on this machine."""
    profile: Profile | None

    def decode(
        self, tasks: Iterable[Task], job: Job, stop: threading.Event
    ) -> Iterator[Finished | Tick]:
        """Decode and score recordings in any order; see `Engine`.

        Raises:
            ClusterError: no node has worked for `run.cluster_wait_s`.
            UsageError: there is no such cluster, or the job cannot be done at all.
        """
        queue = deque(tasks)
        if not queue:
            return
        ray = connected(self.address)
        crew = _Crew(ray, job, self.profile, queue)
        try:
            yield from crew.work(stop)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError(
                f"the cluster cannot be reached any more: {first_line(error)}. What "
                "is finished is in the results; run the same command again"
            ) from error
        finally:
            with suppress(ray.exceptions.RayError, ConnectionError):
                crew.end()
            ray.shutdown()


class _Crew:
    """The actors, their tasks, and the tasks that wait."""

    def __init__(
        self, ray: Any, job: Job, profile: Profile | None, queue: deque[Task]
    ) -> None:
        self._ray, self._job, self._queue = ray, job, queue
        on_gpu = job.config.run.device.startswith("cuda")
        self._needs = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
        self._kind = ray.remote(Analyst).options(max_restarts=0, **self._needs)
        # The job goes to each node once.
        self._shared = ray.put(job), ray.put(profile)
        self._actors: list[_Actor] = []
        self._deaths: Counter[Task] = Counter()
        self._looked = -LOOK_S
        self._failed_starts = 0
        self._alive = time.monotonic()

    def work(self, stop: threading.Event) -> Iterator[Finished | Tick]:
        """Yield the recordings as they are finished."""
        stopped_at: float | None = None
        while self._queue or any(actor.tasks for actor in self._actors):
            if stop.is_set():
                if stopped_at is None:
                    stopped_at = time.monotonic()
                    self._call_off()
                if time.monotonic() - stopped_at > GRACE_S:
                    return
            else:
                self._hire()
                self._hand_out()
            yield from self._answers()
            self._check_alive()
            yield TICK

    def _call_off(self) -> None:
        """Have no more recordings started."""
        self._queue.clear()
        for actor in self._actors:
            while len(actor.tasks) > 1:
                _, answer = actor.tasks.pop()
                self._ray.cancel(answer, force=False)

    def end(self) -> None:
        """End all actors; those that work on something are not waited for."""
        idle = [own for own in self._actors if own.is_ready and not own.tasks]
        closing = [actor.handle.close.remote() for actor in idle]
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(closing, timeout=GRACE_S)
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors.clear()

    def _hire(self) -> None:
        """Have as many actors as the cluster, or the rest of the work, has room for."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        unit = "GPU" if "num_gpus" in self._needs else "CPU"
        room = int(self._ray.cluster_resources().get(unit, 0))
        most = self._job.config.run.workers or room
        n_left = len(self._queue) + sum(len(actor.tasks) for actor in self._actors)
        while len(self._actors) < min(room, most, n_left):
            handle = self._kind.remote(*self._shared)
            self._actors.append(_Actor(handle, handle.ready.remote()))

    def _hand_out(self) -> None:
        for depth in range(TASKS_PER_ACTOR):
            for actor in self._actors:
                if self._queue and actor.is_ready and len(actor.tasks) == depth:
                    task = self._queue.popleft()
                    actor.tasks.append((task, actor.handle.analyse.remote(task)))
                    if depth == 0:
                        actor.since = time.monotonic()

    def _answers(self) -> Iterator[Finished]:
        waited = {}
        for actor in self._actors:
            if not actor.is_ready:
                waited[actor.ready] = actor
            elif actor.tasks:
                waited[actor.tasks[0][1]] = actor
        if not waited:
            time.sleep(TICK_S)
            return
        done, _ = self._ray.wait(list(waited), num_returns=1, timeout=TICK_S)
        # Whatever else is there by now.
        more, _ = self._ray.wait(list(waited), num_returns=len(waited), timeout=0)
        for answer in {*done, *more}:
            finished = self._answer(waited[answer], answer)
            if finished is not None:
                yield finished
        yield from self._late()

    def _answer(self, actor: _Actor, answer: Any) -> Finished | None:
        """Return a finished recording; None if the actor is ready now, or is dead."""
        exceptions = self._ray.exceptions
        try:
            value = self._ray.get(answer)
        except (
            exceptions.RayActorError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.WorkerCrashedError,
            exceptions.LocalRayletDiedError,
            exceptions.OutOfMemoryError,
        ) as error:
            if getattr(error, "actor_init_failed", False):
                self._count_failed_start(error)
            return self._after_death(actor)
        except exceptions.RayTaskError as error:
            task, _ = self._next(actor)
            return Analysis(unexpected(task.recording, "analysing", error), [])
        if not actor.is_ready:
            actor.is_ready = True
            return None
        self._next(actor)
        if isinstance(value, UsageError):
            raise value
        finished: Finished = value
        return finished

    def _count_failed_start(self, error: Exception) -> None:
        """Count an actor that could not load what it needs.

        Raises:
            UsageError: none could yet, or it happens again and again.
        """
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS or not any(
            actor.is_ready for actor in self._actors
        ):
            last = (str(error).strip().splitlines() or [""])[-1]
            raise UsageError(
                f"the cluster cannot run this: {last}. Every node needs the same "
                "version of ser, and the model and the recordings at the same paths"
            ) from error

    def _next(self, actor: _Actor) -> tuple[Task, Any]:
        actor.since = time.monotonic()
        return actor.tasks.popleft()

    def _after_death(self, actor: _Actor) -> Finished | None:
        """Return the failure of what a dead actor did, if it is to blame.

        All else is done again: the node may be gone.
        """
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        if actor.is_ready:
            self._looked = -LOOK_S
        tasks = [task for task, _ in actor.tasks]
        if not tasks:
            return None
        self._deaths[tasks[0]] += 1
        if self._deaths[tasks[0]] < MAX_DEATHS:
            self._queue.extendleft(reversed(tasks))
            return None
        self._queue.extendleft(reversed(tasks[1:]))
        task = tasks[0]
        error = (
            f"its process, or its node, was lost {MAX_DEATHS} times: if the file is "
            "damaged, copy it again; else retry with --retry-failed"
        )
        kind = FailureKind.CRASHED
        return Analysis(Failed(task.recording, task.stamp, None, kind, error), [])

    def _late(self) -> Iterator[Finished]:
        """Yield recordings that exceed their deadline, and end their actors."""
        deadline_s = self._job.config.run.deadline_s
        for actor in list(self._actors):
            if not actor.tasks or time.monotonic() - actor.since <= deadline_s:
                continue
            if not self._ray.wait([actor.tasks[0][1]], timeout=0)[0]:
                task, _ = actor.tasks.popleft()
                self._queue.extendleft(own for own, _ in reversed(actor.tasks))
                self._actors.remove(actor)
                self._ray.kill(actor.handle)
                yield Analysis(past_deadline(task, deadline_s), [])

    def _check_alive(self) -> None:
        """Check that some actor works.

        Raises:
            ClusterError: none has for too long.
        """
        if any(actor.is_ready for actor in self._actors):
            self._alive = time.monotonic()
        wait_s = self._job.config.run.cluster_wait_s
        if time.monotonic() - self._alive > wait_s:
            raise ClusterError(
                f"no node of the cluster has worked for {wait_s:g} s. What is finished "
                "is in the results; run the same command again when there are nodes"
            )
