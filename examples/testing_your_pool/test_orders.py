"""The shop's tests. Those that take a clock need no process; the others run on whatever ``--folk-runtime`` says."""

import pytest
import trio
from shop.jobs import order, reserved
from shop.orders import order_all, run_shop

from trio_folk import PoolConfig, open_pool
from trio_folk.testing import Fault, FaultyRuntime, Script


async def test_an_order_is_paid(autojump_clock):
    """The method is a function, and needs no pool."""
    assert await order("tea") == "tea, paid"


async def test_each_order_has_its_receipt(folk_pool):
    """On tasks, on forks, on interpreters."""
    assert await order_all(folk_pool, ["tea", "rice"]) == {"tea": "tea, paid", "rice": "rice, paid"}


@pytest.mark.folk_pool(config=PoolConfig(cancel_grace=30), slots=1)
async def test_an_order_that_is_given_up_reserves_nothing(folk_pool):
    """It is cancelled in the worker, which cleans up and serves the next call."""
    with trio.move_on_after(0.1) as scope:
        await folk_pool.execute("order", ["tea"])
    assert scope.cancelled_caught
    assert await folk_pool.execute("reserved") == []
    assert folk_pool.statistics().spawned == 1


@pytest.mark.every_cancellation_point(may_return=True, second=False, invariant=lambda: not reserved)
async def test_no_reservation_survives_a_cancellation(folk_pool, autojump_clock):
    """Wherever it comes."""
    await order_all(folk_pool, ["tea", "rice", "salt"])


async def test_a_death_costs_one_receipt(autojump_clock):
    """And the order is not made again."""
    runtime = FaultyRuntime([Script(at_call={2: Fault.dies()})])
    async with open_pool(runtime, config=PoolConfig(slots=1, min_uptime=0)) as pool:
        receipts = await order_all(pool, ["tea", "rice", "salt"])
    assert list(receipts.values()).count(None) == 1
    assert len(runtime.calls) == 3


async def test_a_payment_that_hangs_holds_back_nobody(autojump_clock):
    """Its ten seconds pass at once."""
    runtime = FaultyRuntime([Script(at_call={1: Fault.hangs()})])
    async with open_pool(runtime, slots=2) as pool:
        receipts = await order_all(pool, ["tea", "rice", "salt"])
    assert list(receipts.values()).count(None) == 1


@pytest.mark.parametrize("boot", ["never", "dies", "refuses", "launch_fails"])
async def test_a_shop_without_workers_is_closed(boot, autojump_clock):
    """Whatever keeps them from their birth."""
    assert await run_shop(FaultyRuntime(then=Script(boot=boot)), ["tea"]) == "the shop is closed"
