"""Examine the machines of a Ray cluster: versions, the data folder that they share, and their GPUs."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rsidiff_kedro.execution import ray_cluster
from rsidiff_kedro.execution.engine import ExecutionError, ExecutionSettings
from rsidiff_kedro.execution.ray_worker import VERSIONS, node_facts

SECONDS = 120
"""The longest that a machine may take to answer; the first answer imports torch."""


class NodeFinding(NamedTuple):
    """One line about a machine or about all of them."""

    subject: str
    fine: bool
    text: str


def examine_cluster(settings: ExecutionSettings, data: Path, on_gpu: bool) -> Iterator[NodeFinding]:
    """Connect as a run does, and examine every machine.

    Raises:
        ExecutionError: the cluster cannot be used, or the data folder cannot be written.
    """
    threads = ray_cluster.own_threads(settings)
    ray, folder = ray_cluster.connect(settings, data, ray_cluster.cpus_to_offer(settings, threads))
    try:
        yield from examine_nodes(ray, data)
        yield NodeFinding("workers", True, f"{ray_cluster.planned_workers(settings, ray, on_gpu, threads)} would start")
    finally:
        ray_cluster.disconnect(ray, folder)


def examine_nodes(ray: Any, data: Path) -> Iterator[NodeFinding]:
    """Compare each machine with this one; each reads a file that is written here, and writes one that is read here.

    Raises:
        ExecutionError: the data folder cannot be written.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    secret, here, ask = secrets.token_hex(8), data.absolute(), ray.remote(node_facts)
    own, kinds = node_facts(str(here), ""), set[str]()
    given = here / f".doctor_{secret}"
    try:
        here.mkdir(parents=True, exist_ok=True)
        given.write_text(secret, encoding="utf-8")
    except OSError as error:
        raise ExecutionError(
            f"{here} cannot be written ({error.strerror}), where machines would share data; make it writable for this "
            "user, or name another place in globals.yml"
        ) from error
    nodes = [node for node in ray.nodes() if node["Alive"]]
    answers = {
        node["NodeManagerAddress"]: ask.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(here), given.name)
        for node in nodes
    }
    try:
        for address, answer in answers.items():
            try:
                facts = ray.get(answer, timeout=SECONDS)
            except ray.exceptions.RayError as error:
                first = str(error).strip().split("\n")[0]
                yield NodeFinding(f"node {address}", False, f"does not answer as a worker would ({first[:300]})")
                continue
            problems = _problems(own, facts, secret, given)
            kinds.add(facts["gpus"])
            text = "; ".join(problems) or f"{facts['machine']}: GPUs {facts['gpus']}, the versions and data/ of here"
            yield NodeFinding(f"node {address}", not problems, text)
    finally:
        for path in here.glob(f"{given.name}*"):
            path.unlink(missing_ok=True)
    if len(kinds) > 1:
        text = f"{' and '.join(sorted(kinds))}: images differ slightly between kinds of GPU; use machines of one kind"
        yield NodeFinding("GPUs", False, text)


def _problems(own: dict[str, str], facts: dict[str, str], secret: str, given: Path) -> list[str]:
    found = [
        f"{name} {facts[name]} there, {own[name]} here: install the same"
        for name in VERSIONS
        if facts[name] != own[name]
    ]
    answer = given.with_name(f"{given.name}.{facts['machine']}")
    if facts["shared"] != secret or not answer.is_file() or answer.read_text("utf-8") != secret:
        found.append(f"{given.parent} is another folder there: mount the same under the same path")
    return found
