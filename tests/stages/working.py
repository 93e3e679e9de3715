"""Runs a stage's worker over a part without Ray."""

import asyncio
from itertools import pairwise

import pyarrow as pa


def work_in_pieces(worker, part, rows, pieces, earlier=None):
    """The rows that a worker makes of a part that comes in pieces, checked as the runner does, and their facts."""
    cuts = [round(len(rows) * each / pieces) for each in range(pieces + 1)]

    async def run():
        await worker.start(lambda **counts: None)
        slices = [rows.slice(start, end - start) for start, end in pairwise(cuts)]
        done = await asyncio.gather(*(worker.work(part, piece, earlier) for piece in slices))
        await worker.close()
        return pa.concat_tables(done)

    made = asyncio.run(run())
    assert made.schema == worker.schema
    assert sorted(zip(*(made[key].to_pylist() for key in worker.keys), strict=True)) == sorted(worker.asked(part, rows))
    return made, worker.facts(made)
