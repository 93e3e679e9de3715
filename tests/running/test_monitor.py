"""The monitor without Ray."""

import asyncio

from drp_ray.running.dealing import PartToDo
from drp_ray.running.monitor import Monitor


def test_a_worker_of_an_earlier_deal_counts_for_none_of_a_later_one_that_is_called_alike():
    async def told():
        monitor = Monitor.__ray_metadata__.modified_class()
        monitor.begin_deal("earlier", [])
        monitor.begin_deal("later", [PartToDo("0/part-0", 1)])
        assert await monitor.ask("earlier", "worker 1", "a node") is None
        return monitor.begun("later"), monitor.lose("later", "worker 1", ["a node"])

    assert asyncio.run(told()) == ([], (False, ()))
