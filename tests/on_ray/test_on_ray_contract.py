"""Workers on Ray keep the contract of runtimes, on a cluster of two nodes."""

from __future__ import annotations

import pytest
from ray_cluster import Cluster

from trio_folk import RayRuntime
from trio_folk.abc import Runtime
from trio_folk.testing import RuntimeContract

WORKER = "trio_folk.testing.contract_worker:worker"


class TestRay(RuntimeContract):
    """Actors with synchronous methods."""

    @pytest.fixture(autouse=True)
    def _connected(self, cluster: Cluster) -> None:
        """The cluster is there."""

    def make_runtime(self) -> Runtime:
        return RayRuntime(WORKER, cpus=0.1)
