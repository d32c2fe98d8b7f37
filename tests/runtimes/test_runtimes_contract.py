"""Every runtime of ours keeps the contract, with each kind of worker that it can have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trio_folk import ForkRuntime, PipeRuntime, TaskRuntime
from trio_folk._process import namespace
from trio_folk.abc import Runtime
from trio_folk.testing import FaultyRuntime, RuntimeContract, Script

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKER = "trio_folk.testing.contract_worker:worker"
ASYNC_WORKER = "trio_folk.testing.contract_worker:async_worker"
TASK_METHODS = RuntimeContract.methods - {"spin", "exit_with"}  # they would take this process along


class TestPipePython(RuntimeContract):
    """Processes of our SDK, with synchronous methods."""

    def make_runtime(self) -> Runtime:
        return PipeRuntime.python(WORKER)


class TestPipePythonAsync(RuntimeContract):
    """Processes of our SDK, with async methods, several calls at once."""

    methods = RuntimeContract.methods - {"spin"}

    def make_runtime(self) -> Runtime:
        return PipeRuntime.python(ASYNC_WORKER)


class TestPipePidNamespace(RuntimeContract):
    """Processes of our SDK, each in a pid namespace of its own, in which they have other pids."""

    methods = RuntimeContract.methods - {"pid"}

    def make_runtime(self) -> Runtime:
        if (reason := namespace.why_not()) is not None:
            pytest.skip(f"no pid namespaces here: {reason}")
        return PipeRuntime.python(WORKER, isolation="pidns")


class TestTask(RuntimeContract):
    """Tasks of this process, with synchronous methods, which nothing can stop."""

    methods = TASK_METHODS

    def make_runtime(self) -> Runtime:
        return TaskRuntime(WORKER)


class TestTaskAsync(RuntimeContract):
    """Tasks of this process, with async methods, several calls at once."""

    methods = TASK_METHODS
    sleep_can_be_stopped = True

    def make_runtime(self) -> Runtime:
        return TaskRuntime(ASYNC_WORKER)


class TestTaskNotRecyclable(TestTaskAsync):
    """The same, when its workers may not be replaced while they are healthy."""

    def make_runtime(self) -> Runtime:
        return TaskRuntime(ASYNC_WORKER, recyclable=False)


class TestFaulty(RuntimeContract):
    """Scripted workers that have nothing bad in their script."""

    methods = frozenset({"echo", "sleep"})

    def make_runtime(self) -> Runtime:
        return FaultyRuntime()


class TestFaultyConcurrent(TestFaulty):
    """The same, with several calls at once."""

    def make_runtime(self) -> Runtime:
        return FaultyRuntime(then=Script(concurrency=3))


class TestPhp(RuntimeContract):
    """A worker of the base protocol, written in PHP."""

    methods = frozenset({"echo", "fail", "sleep"})

    def make_runtime(self) -> Runtime:
        if shutil.which("php") is None:
            pytest.skip("needs PHP: apt-get install php-cli php-msgpack")
        return PipeRuntime.php(EXAMPLES / "php_worker" / "worker.php")


class TestNode(RuntimeContract):
    """A worker of the base protocol, written in JavaScript."""

    methods = frozenset({"echo", "fail", "sleep"})

    def make_runtime(self) -> Runtime:
        if shutil.which("node") is None:
            pytest.skip("needs Node: apt-get install nodejs")
        return PipeRuntime(["node", str(EXAMPLES / "node_worker" / "worker.mjs")])


class TestFork(RuntimeContract):
    """Workers forked from a zygote of our SDK, with synchronous methods."""

    def make_runtime(self) -> Runtime:
        return ForkRuntime(WORKER)


class TestForkAsync(RuntimeContract):
    """Workers forked from a zygote of our SDK, with async methods, several calls at once."""

    methods = RuntimeContract.methods - {"spin"}

    def make_runtime(self) -> Runtime:
        return ForkRuntime(ASYNC_WORKER)


class TestForkPhp(RuntimeContract):
    """Workers forked from a master of the base protocol, written in PHP."""

    methods = frozenset({"echo", "fail", "sleep", "pid"})

    def make_runtime(self) -> Runtime:
        if shutil.which("php") is None:
            pytest.skip("needs PHP with pcntl, posix and sockets: apt-get install php-cli php-msgpack")
        return ForkRuntime.php(EXAMPLES / "php_fork_master" / "master.php")
