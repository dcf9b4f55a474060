"""Run shards and replicas in Ray's actors, which pull work, on the GPUs of one machine or of many.

Actors write results into the folder of unfinished work, as this process does with the local engine. Ray passes names,
settings and sums of gradients, never pixels.
"""

import atexit
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import known_commits
from rsidiff_kedro.execution import ray_cluster
from rsidiff_kedro.execution.engine import (
    ATTEMPTS,
    ExecutionError,
    ExecutionSettings,
    Input,
    Opening,
    Result,
    Task,
    WorkerLost,
)
from rsidiff_kedro.execution.local import LocalEngine, Shard
from rsidiff_kedro.execution.ray_worker import AtCommits, Worker

logger = logging.getLogger(__name__)


class RayEngine:
    """Start the workers when they are first needed, and replace those that are lost.

    Args:
        settings: see `ExecutionSettings`.
        data: the data folder, which all machines share.
        on_gpu: the model computes on GPUs.
    """

    def __init__(self, settings: ExecutionSettings, data: Path, on_gpu: bool) -> None:
        ray_cluster.check_installed()
        self._settings, self._data, self._on_gpu = settings, data, on_gpu
        self._ray: Any = None
        self._folder: Path | None = None
        self._make: Any = None
        self._workers: list[Any] = []
        self._opened = self._lost = 0

    @property
    def workers(self) -> list[Any]:
        """Return the handles of the workers, which are started if there are none."""
        if not self._workers:
            self._start()
        return self._workers

    def _start(self) -> None:
        settings, threads = self._settings, ray_cluster.own_threads(self._settings)
        if self._on_gpu and settings.threads is None:  # GPUs compute the results, whatever the number of threads
            threads = max(1, ray_cluster.own_cores() // max(1, torch.cuda.device_count()))
        logger.info("starting Ray: %s", settings.address or "on this machine")
        offered = ray_cluster.cpus_to_offer(settings, threads)
        self._ray, self._folder = ray_cluster.connect(settings, self._data, offered)
        atexit.register(self.close)
        try:
            count = ray_cluster.planned_workers(settings, self._ray, self._on_gpu, threads)
        except ExecutionError:
            self.close()
            raise
        per_worker = ray_cluster.gpus_per_worker(settings, self._on_gpu)
        actor = self._ray.remote(Worker).options(
            num_cpus=0 if per_worker else threads, num_gpus=per_worker, scheduling_strategy="SPREAD"
        )
        self._make = lambda: actor.remote(os.getcwd(), threads)
        self._workers = [self._make() for _ in range(count)]
        logger.info("Ray has %d workers with %d threads and %g GPUs each", count, threads, per_worker)

    def map(
        self, task: Task[Input, Result], calls: Sequence[tuple[Shard, Input]]
    ) -> Iterator[tuple[Shard, Result | None]]:
        """Have idle workers pull shards; yield each that is kept. A shard that fails is tried three times.

        Raises:
            ExecutionError: a shard has ended three workers, or too many workers were lost.
            InputError: a worker's own, at once; any other error of a worker, the third time.
        """
        portable = task.portable()
        if portable is None:
            yield from LocalEngine().map(task, calls)
            return
        opening, workers, number = AtCommits(portable, known_commits()), self.workers, self._next()
        waiting, idle, failed = deque(calls), list(range(len(workers))), Counter[str]()
        busy: dict[Any, tuple[int, tuple[Shard, Input]]] = {}
        finished: Shard | None = None
        while waiting or busy:
            while waiting and idle:
                place, call = idle.pop(0), waiting.popleft()
                busy[workers[place].run.remote(number, opening, *call)] = place, call
            if finished is not None:  # the worker that made it has other work by now
                yield finished, None
                finished = None
                continue
            done = self._ray.wait(list(busy), num_returns=1)[0][0]
            place, call = busy.pop(done)
            idle.append(place)
            shard = call[0]
            try:
                self._outcome(done)
            except WorkerLost as error:
                failed[shard.key] += 1
                if failed[shard.key] == ATTEMPTS:
                    raise ExecutionError(_ended(shard, error)) from error
                self._replace(place)
            except Exception as error:
                failed[shard.key] += 1
                if failed[shard.key] == ATTEMPTS or isinstance(error, InputError) or _is_out_of_memory(error):
                    raise
                logger.warning("%s failed (%s) and is tried again", shard.key, error)
            else:
                finished = shard
                continue
            waiting.append(call)
        if finished is not None:
            yield finished, None

    def replicas(self, opening: Opening, most: int) -> "RayReplicas":
        """Return copies, one per worker, that are opened when they are first called."""
        return RayReplicas(self, AtCommits(opening, known_commits()), self._next(), min(most, len(self.workers)))

    def close(self) -> None:
        """End the workers and Ray; leave a cluster as it was found."""
        ray, self._ray, self._workers = self._ray, None, []
        if ray is not None:
            atexit.unregister(self.close)
            ray_cluster.disconnect(ray, self._folder)

    def _next(self) -> int:
        self._opened += 1
        return self._opened

    def _outcome(self, reference: Any) -> Any:
        """Return a call's result, or raise what the worker raised; WorkerLost if it has ended."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayError):  # of a worker that an argument came from
                raise WorkerLost(_first_line(error)) from error
            raise error.cause from None
        except errors.RayError as error:
            raise WorkerLost(_first_line(error)) from error

    def _replace(self, place: int) -> None:
        """Start another worker instead of one that has ended."""
        self._lost += 1
        if self._lost > self._settings.max_restarts:
            raise ExecutionError(
                f"{self._lost} workers were lost in this run, more than execution.max_restarts="
                f"{self._settings.max_restarts}; look at the machines, then continue with --only-missing-outputs"
            )
        logger.warning("worker %d was lost and is replaced", place)
        self._workers[place] = self._make()

    def replace_lost(self, places: Sequence[int]) -> None:
        """Find out which of these workers have ended, and replace them."""
        answers = {place: self._workers[place].process.remote() for place in places}
        for place, answer in answers.items():
            try:
                self._outcome(answer)
            except WorkerLost:
                self._replace(place)

    def gather(self, references: Sequence[Any]) -> list[Any]:
        """Return the results of one call to each of the first workers; replace those that have ended."""
        try:
            return [self._outcome(reference) for reference in references]
        except WorkerLost:
            self.replace_lost(range(len(references)))
            raise


class RayReplicas:
    """Copies of an object in the first workers of an engine; see `Replicas`."""

    def __init__(self, engine: RayEngine, opening: Opening, number: int, size: int) -> None:
        self._engine, self._opening, self._number, self.size = engine, opening, number, size

    def _call(self, place: int, method: str, argument: Any) -> Any:
        return self._engine.workers[place].call.remote(self._number, self._opening, method, argument)

    def each(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        """Call a method of every replica at once; raise WorkerLost if a worker has ended, which is then replaced."""
        return self._engine.gather([self._call(place, method, each) for place, each in enumerate(arguments)])

    def chain(self, method: str, value: Any) -> Any:
        """Pass a value through a method of one replica after the other; Ray sends it from worker to worker."""
        for place in range(self.size):
            value = self._call(place, method, value)
        return value


def _ended(shard: Shard, error: WorkerLost) -> str:
    return (
        f"rows {shard.start} to {shard.stop - 1} ({shard.key}) have ended {ATTEMPTS} workers, as the system does when "
        f"memory runs out ({error}); lower micro_batch_size or execution.workers, and continue with "
        "--only-missing-outputs"
    )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
