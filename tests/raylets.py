"""A Ray cluster of several nodes on this machine, for tests."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from ue_bench.trials.executors.ray_cluster import STORE_BYTES, import_ray


@contextlib.contextmanager
def small_cluster(nodes: int) -> Iterator[Any]:
    """A ``ray.cluster_utils.Cluster``: a head that takes no trials, and nodes with one CPU each."""
    import_ray()
    from ray.cluster_utils import Cluster

    with _without_agents():
        cluster = Cluster(initialize_head=True, head_node_args=_settings(0))
        try:
            for _ in range(nodes):
                add_node(cluster)
            yield cluster
        finally:
            for node in [*cluster.worker_nodes, cluster.head_node]:
                cluster.remove_node(node, allow_graceful=False)


def add_node(cluster: Any, **settings: Any) -> Any:
    """One more node with one CPU."""
    with _without_agents():
        return cluster.add_node(wait=True, **{**_settings(1), **settings})


def _settings(cpus: int) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return {
        "num_cpus": cpus,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "include_log_monitor": False,
        "no_monitor": True,
        "runtime_env_agent_port": port,
    }


@contextlib.contextmanager
def _without_agents() -> Iterator[None]:
    """Nodes do not wait for the dashboard's agents: Ray gives them 15 seconds, too few on a busy machine."""
    from ray import _raylet
    from ray._private.node import Node

    real = Node.start_raylet

    def start(node: Any, *rest: Any, **more: Any) -> Any:
        for name in ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN"):
            _raylet.persist_port(node._session_dir, node._node_id, getattr(_raylet, f"{name}_PORT_NAME"), -1)
        return real(node, *rest, **more)

    Node.start_raylet = start
    try:
        yield
    finally:
        Node.start_raylet = real
