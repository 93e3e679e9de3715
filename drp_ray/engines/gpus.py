"""Which GPUs the models of a worker take, where one worker holds several models.

Ray gives a worker its GPUs together, and an engine that sees them all would begin with the first, as the engine beside
it does.
"""

from collections.abc import Mapping

from drp_ray.engines.base import ModelSpec

ROUNDING = 1e-9


def places(gpus: Mapping[str, float]) -> dict[str, tuple[int, ...]]:
    """The GPUs that each model takes of its worker's, by number from 0 up.

    Whole GPUs are a model's own. Models that take a part of one share a GPU as far as they fit it.
    """
    left, taken = list[float](), dict[str, tuple[int, ...]]()
    for name in sorted(gpus, key=lambda name: (-gpus[name], name)):
        need = gpus[name]
        if need == int(need):
            taken[name] = tuple(range(len(left), len(left) + int(need)))
            left += [0.0] * int(need)
            continue
        number = next((number for number, free in enumerate(left) if free + ROUNDING >= need), len(left))
        if number == len(left):
            left.append(1.0)
        left[number] -= need
        taken[name] = (number,)
    return taken


def gpus_of_worker(gpus: Mapping[str, float]) -> float:
    """How many GPUs a worker takes that holds these models: a part of one, or whole ones."""
    count = len({number for numbers in places(gpus).values() for number in numbers})
    return count if count > 1 else min(1.0, sum(gpus.values()))


def on_their_gpus(models: Mapping[str, ModelSpec], visible: str | None) -> dict[str, ModelSpec]:
    """The models, each with the `devices` that it takes of those that CUDA shows to this process (`0,1`).

    Where all of them take the same, or nothing says which there are, they are as they were.
    """
    devices = visible.split(",") if visible else []
    taken = places({name: spec.gpus for name, spec in models.items()})
    numbers = {number for each in taken.values() for number in each}
    if len(set(filter(None, taken.values()))) < 2 or len(numbers) > len(devices):
        return dict(models)
    named = {name: tuple(devices[number] for number in each) for name, each in taken.items()}
    return {name: spec.model_copy(update={"devices": named[name] or None}) for name, spec in models.items()}
