"""embeddings: a vector for every distinct text among the requested items' reviews, each embedded once."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray import schema
from drp_ray.config import Embedding
from drp_ray.engines.embedder import Embedder, locate_model, make_embedder
from drp_ray.errors import StageFailed
from drp_ray.inputs.import_path import source_digest
from drp_ray.inputs.packaged_model import whole_path
from drp_ray.running.worker import Key, Pool, Worker
from drp_ray.stages.stage import JobSpec, Resources, Stage, after, for_need
from drp_ray.storage.fingerprint import model_identity

T = TypeVar("T")

PARTS_AT_ONCE = 8
"""Parts that an embedding worker is given at once: texts of like lengths are encoded together."""


class LoadedEmbedder:
    """An embedding model, and the one thread that uses it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._embedder: Embedder | None = None

    async def load(self, settings: Embedding) -> None:
        """Load the model."""
        self._embedder = await self._in_thread(make_embedder, settings)

    async def encode(self, texts: list[str]) -> np.ndarray:
        """Embed texts: float32[n, d]."""
        assert self._embedder is not None
        return await self._in_thread(self._embedder.encode, texts)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[[Any], T], argument: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, argument)


@dataclass
class Embed(Worker):
    """Holds the embedding model. Parts overlap: one is read or written while another is embedded."""

    settings: Embedding
    schema = schema.EMBEDDINGS
    keys = ("text_id",)
    _loaded: LoadedEmbedder | None = field(default=None, init=False, repr=False)

    def holds(self) -> Any:
        """The model with its settings."""
        return self.settings

    async def load(self) -> None:
        """Load the model."""
        self._loaded = LoadedEmbedder()
        await self._loaded.load(self.settings)

    def share(self, loaded: Any) -> None:
        """Use the model that another worker has loaded."""
        self._loaded = loaded

    def loaded(self) -> Any:
        """The model and its thread."""
        return self._loaded

    async def start(self, count: Callable[..., None]) -> None:
        """Load the model where that was not done."""
        self._count = count
        if self._loaded is None:
            await self.load()
        self._waiting: list[tuple[list[str], asyncio.Future[np.ndarray]]] = []
        self._encoding: asyncio.Task[None] | None = None

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """The texts that this part embeds, for itself and for others."""
        return [(name,) for name in dict.fromkeys(_of_own_reviews("text_id", part, rows))]

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Items in, one vector a distinct text out."""
        texts = _own_texts(part, rows)
        if not texts:
            return schema.EMBEDDINGS.empty_table()
        vectors = await self._encode(list(texts.values()))
        if not np.isfinite(vectors).all():
            unusable = list(texts)[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
            raise StageFailed(f"embeddings/{part}: the embedding model gave no finite vector for the text {unusable}")
        flat, width = pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1]
        offsets = pa.array(range(0, len(flat) + 1, width), pa.int32())
        self._count(rows=len(texts))
        return pa.table([pa.array(list(texts)), pa.ListArray.from_arrays(offsets, flat)], schema=schema.EMBEDDINGS)

    async def close(self) -> None:
        """End the model's thread."""
        if self._loaded is not None:
            self._loaded.close()

    async def _encode(self, texts: list[str]) -> np.ndarray:
        """Encode texts together with those of all parts that wait: batches of like lengths have less padding."""
        encoded: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, encoded))
        if self._encoding is None or self._encoding.done():
            self._encoding = asyncio.ensure_future(self._encode_waiting())
        return await encoded

    async def _encode_waiting(self) -> None:
        assert self._loaded is not None
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                vectors = await self._loaded.encode([text for part, _ in together for text in part])
            except Exception as error:  # every part that waits gets it, and fails the job
                for _, encoded in together:
                    encoded.set_exception(error)
                continue
            ends = np.cumsum([len(part) for part, _ in together])
            for (_, encoded), own in zip(together, np.split(vectors, ends[:-1]), strict=True):
                encoded.set_result(own)


def _own_texts(part: str, rows: pa.Table) -> dict[str, str]:
    return dict(zip(*(_of_own_reviews(field, part, rows) for field in ("text_id", "text")), strict=True))


def _of_own_reviews(field: str, part: str, rows: pa.Table) -> list[str]:
    """A field of the reviews whose texts a part embeds; one text may stand there again and again."""
    number = int(part.removeprefix("part-").removesuffix(".parquet"))
    reviews = pc.list_flatten(rows["reviews"].combine_chunks())
    is_own = pc.equal(pc.struct_field(reviews, "embedded_in"), number)
    found: list[str] = pc.struct_field(reviews, field).filter(is_own).to_pylist()
    return found


def _settings(spec: JobSpec) -> dict[str, Any]:
    settings = spec.config.embedding
    own_engine = {"engine_source": source_digest(settings.engine)} if ":" in settings.engine else {}
    return {
        "engine": settings.engine,
        **own_engine,
        **model_identity(locate_model(settings), settings.revision),
        "trust_remote_code": settings.trust_remote_code,
        "max_tokens": settings.max_tokens,
    }


def _for_workers(settings: Embedding) -> Embedding:
    return settings.model_copy(update={"model": whole_path(settings.model)})


def _resources(spec: JobSpec) -> Resources:
    settings = spec.config.embedding
    pool = Pool(
        replicas=settings.replicas.max,
        fewest=settings.replicas.min,
        num_gpus=settings.num_gpus,
        num_cpus=settings.num_cpus,
        parts_in_flight=PARTS_AT_ONCE,
    )
    return Resources(pool, embedder=_for_workers(settings))


EMBEDDINGS = Stage(
    "embeddings",
    version=1,
    inputs=after("items"),
    settings=_settings,
    resources=_resources,
    make=lambda context: Embed(_for_workers(context.config.embedding)),
    is_needed=for_need("embeddings"),
    expected_rows="texts",
)
