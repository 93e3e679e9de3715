"""One YAML file describes a job. This module reads it, checks it, and is the only one to look at the environment."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from drp_ray.errors import BadInput, nearest, without_passwords
from drp_ray.job_yaml import parse_yaml
from drp_ray.storage.folder import S3Options

Role = Literal["extractor", "validator", "summarizer", "generator", "judge"]
ROLES: tuple[Role, ...] = get_args(Role)
Dimension = Literal["writing", "emotion", "semantic"]
"""What a comparison looks at: writing style, emotional style, semantic style (DPL)."""

Leaks = Literal["refuse", "drop", "keep"]
"""What becomes of a dataset in which a profile holds its user's target review or later ones."""

ENGINE_NAMES = ("vllm", "openai")
"""The engines of this package; `engines.ENGINES` says where they are."""

PROTOCOL_NAMES = ("dpl", "drp", "yelp-100x5", "full")
"""The names that `protocol` takes, also two of them joined by `+`; `job.protocols` says what they mean."""

DocumentField = Literal["item_title", "item_description", "review_title", "review_text"]
Count = Annotated[int, Field(ge=1)]
Cpus = Annotated[float, Field(ge=0)]


def part_or_whole(gpus: float) -> float:
    """GPUs as Ray gives them out: a part of one, or whole ones.

    Raises:
        ValueError: it is more than one and no whole number.
    """
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"give a part of one GPU, or a whole number of GPUs (got {gpus:g})")
    return gpus


Gpus = Annotated[float, Field(ge=0), AfterValidator(part_or_whole)]
Price = Annotated[float, Field(ge=0)]


def known_protocol(name: str) -> str:
    """The name of a protocol, its parts in the order of `PROTOCOL_NAMES`.

    Raises:
        ValueError: there is no such protocol, or a part is named twice.
    """
    parts = name.split("+")
    for part in parts:
        if part not in PROTOCOL_NAMES:
            raise ValueError(f"there is no protocol {part!r}: {nearest(part, PROTOCOL_NAMES)}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"{name!r} names a protocol twice")
    return "+".join(sorted(parts, key=PROTOCOL_NAMES.index))


def _takes_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_takes_number, get_args(annotation)))


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error, as is yes or no for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, bool) and _takes_number(cls.model_fields[field.field_name or ""].annotation):
            raise ValueError("a number is wanted, not true or false")
        return value


def _home_expanded(place: str) -> str:
    if not place.startswith("~"):
        return place
    try:
        return str(Path(place).expanduser())
    except RuntimeError as error:
        raise ValueError(f"{place}: the home that ~ stands for is not known: write the whole path") from error


Place = Annotated[str, AfterValidator(_home_expanded)]
"""A folder or a file, or the name of a model; `~` is the home of whoever runs the job."""


class Users(Section):
    """Whom to predict for: the first `limit` users, or `sample` users drawn with `seed`.

    `leaks` says what becomes of profiles that hold the target review or later ones. With `pseudonyms` results hold
    keyed hashes in place of user ids.
    """

    limit: Count | None = None
    sample: Count | None = None
    seed: int = 0
    leaks: Leaks = "refuse"
    pseudonyms: bool = False

    @model_validator(mode="after")
    def _one_choice(self) -> "Users":
        if self.limit is not None and self.sample is not None:
            raise ValueError("give users.limit or users.sample, not both")
        return self


class Retrieval(Section):
    """BM25 over a user's own profile: how many reviews, what the query and a document are made of."""

    n: Count = 8
    query: tuple[DocumentField, ...] = ("review_title", "item_description")
    document: tuple[DocumentField, ...] = ("review_title", "item_description")
    variant: Literal["atire", "lucene", "robertson", "bm25+", "bm25l"] = "atire"
    lowercase: bool = False

    @model_validator(mode="after")
    def _some_fields(self) -> "Retrieval":
        if not self.query or not self.document:
            raise ValueError("retrieval.query and retrieval.document each need at least one field")
        if "review_text" in self.query:
            raise ValueError("retrieval.query cannot hold review_text: the target's text is what is to be written")
        return self


class Selection(Section):
    """Who represents the other reviewers of an item."""

    strategy: str = "kmeans"
    k: Count = 4
    n_init: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    as_of: Literal["none", "target"] = "none"


class Differences(Section):
    """The dimensions that DPL compares in and DRP begins with, and which of DRP's answers the summarizer reads."""

    dimensions: tuple[Dimension, ...] = ("writing", "emotion", "semantic")
    source: Literal["validated", "raw"] = "validated"


class Replicas(Section):
    """How many workers hold a model: a number, or `{min: 1, max: 8}` where that hangs on the nodes that are there."""

    min: Count = 1
    max: Count

    @model_validator(mode="before")
    @classmethod
    def _of_number(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | Replicas) else {"min": value, "max": value}

    @model_validator(mode="after")
    def _in_order(self) -> "Replicas":
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, which is more than max, {self.max}")
        return self

    @model_serializer
    def _as_written(self) -> int | dict[str, int]:
        return self.max if self.min == self.max else {"min": self.min, "max": self.max}


class Embedding(Section):
    """The embedding model: a hub id, a folder, or `package:NAME` for weights that a Python package carries.

    `engine` is `sentence-transformers`, or the import path `package.module:Class` of an embedder of your own.
    `allow_pickle` loads weights that are no safetensors, and so runs what code is in them.
    """

    engine: str = "sentence-transformers"
    model: Place = "Alibaba-NLP/gte-Qwen2-1.5B-instruct"
    revision: str | None = None
    sha256: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    max_tokens: Count | None = None
    replicas: Replicas = Replicas(min=8, max=8)
    num_gpus: Gpus = 1
    num_cpus: Cpus = 1
    batch_size: Count = 32

    @model_validator(mode="after")
    def _known_engine(self) -> "Embedding":
        if self.engine != "sentence-transformers" and ":" not in self.engine:
            near = nearest(self.engine, ("sentence-transformers",))
            raise ValueError(f"embedding.engine {self.engine!r} is unknown: {near}, or give package.module:Class")
        return self

    @model_validator(mode="after")
    def _pinned_code(self) -> "Embedding":
        if self.trust_remote_code and self.revision is None and not Path(self.model).is_dir():
            raise ValueError(
                "embedding.trust_remote_code runs code from the hub: pin embedding.revision to the commit you read"
            )
        return self


OWN_KEYS = {
    "model": "id",
    "revision": "revision",
    "tokenizer_revision": "revision",
    "code_revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "max_model_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel",
}
"""Arguments of vLLM that a model has a key of its own for."""


class Model(Section):
    """A language model and the engine that serves it.

    `engine` is `vllm`, `openai`, or the import path `package.module:Class` of an engine of your own.
    """

    engine: str = "vllm"
    id: Place
    revision: str | None = None
    replicas: Replicas = Replicas(min=1, max=1)
    tensor_parallel: Count = 1
    num_gpus: Gpus | None = None
    num_cpus: Cpus = 1
    max_model_len: Count | None = None
    engine_args: dict[str, Any] = {}
    trust_remote_code: bool = False
    seeds: bool = True
    system_prompt: Literal["keep", "merge"] = "keep"
    thinking: Literal["auto", "always", "never"] = "auto"
    chat_template_kwargs: dict[str, Any] = {}
    base_url: str | None = None
    identity: str | None = None
    api_key_env: str | None = None
    concurrency: Count | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 120
    max_retries: Annotated[int, Field(ge=0)] = 6
    usd_per_million_tokens: tuple[Price, Price] | None = None

    @model_validator(mode="after")
    def _fits_engine(self) -> "Model":
        if self.engine not in ENGINE_NAMES and ":" not in self.engine:
            near = nearest(self.engine, ENGINE_NAMES)
            raise ValueError(f"engine {self.engine!r} is unknown: {near}, or give package.module:Class")
        limit = self.engine_args.get("max_num_seqs", 1)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"engine_args.max_num_seqs is {limit!r}: give a whole number from 1 up")
        if self.engine == "vllm":
            self._refuse_for_engine({"base_url", "api_key_env", "identity"})
            for argument, key in OWN_KEYS.items():
                if argument in self.engine_args:
                    raise ValueError(f"engine_args.{argument}: give it as {key}, beside engine_args")
            if self.tensor_parallel > 1 and 0 < self.gpus < 1:
                raise ValueError(
                    f"num_gpus {self.gpus:g} is a part of one GPU, tensor_parallel takes {self.tensor_parallel}"
                )
        if self.engine == "openai":
            self._refuse_for_engine({"tensor_parallel", "num_gpus", "engine_args", "revision", "trust_remote_code"})
        return self

    def _refuse_for_engine(self, keys: set[str]) -> None:
        wrong = sorted(keys & self.model_fields_set)
        if wrong:
            raise ValueError(f"{', '.join(wrong)} has no meaning for engine {self.engine}")

    @property
    def public_base_url(self) -> str | None:
        """The address without the password that may be in it: what is stored, and what it is known by."""
        return None if self.base_url is None else without_passwords(self.base_url)

    @property
    def gpus(self) -> float:
        """GPUs that one replica holds; below 1 it shares one with other replicas or models."""
        if self.num_gpus is not None:
            return self.num_gpus
        return self.tensor_parallel if self.engine == "vllm" else 0


class SamplingSettings(Section):
    """How completions are drawn, in every role."""

    temperature: Annotated[float, Field(ge=0)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Count = 2048
    top_k: Count | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: tuple[str, ...] | None = None


class SamplingOverride(Section):
    """What one role draws differently."""

    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Count | None = None
    top_k: Count | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: tuple[str, ...] | None = None


class AllSampling(SamplingSettings):
    """Sampling for all roles, the run's seed, and what single roles draw differently."""

    seed: int = 42
    extractor: SamplingOverride = SamplingOverride()
    validator: SamplingOverride = SamplingOverride()
    summarizer: SamplingOverride = SamplingOverride()
    generator: SamplingOverride = SamplingOverride()
    judge: SamplingOverride = SamplingOverride()

    def of(self, role: Role) -> SamplingSettings:
        """The sampling of one role."""
        override = getattr(self, role).model_dump(exclude_none=True)
        common = {key: getattr(self, key) for key in SamplingSettings.model_fields}
        return SamplingSettings(**{**common, **override})


class Roles(Section):
    """Which model plays which role."""

    extractor: str | None = None
    validator: str | None = None
    summarizer: str | None = None
    generator: str | None = None
    judge: str | None = None


ONE_JUDGE = "judge"
"""The name of the judge where the job has one and does not name it."""

MOST_SAMPLES = 1000
"""Answers of a judge on each text, of which a part holds as many rows for every user."""


class Judge(Section):
    """A language model that says how like the user's real review a prediction is (stage `judgements`).

    Each prediction is judged `samples` times, with seeds of the run's seed and the sampling of the role `judge`.
    `expected` also asks for the score that the model expects by its probabilities, which needs labels of one token:
    the `letters` A to K instead of the `numbers` 0 to 10.
    """

    samples: Annotated[Count, Field(le=MOST_SAMPLES)] = 2
    expected: bool = False
    scale: Literal["numbers", "letters"] | None = None
    model: str | None = None
    rubric: Annotated[str, Field(pattern=r"^judge(_\w+)?$")] = "judge"

    @model_validator(mode="after")
    def _labels_of_one_token(self) -> "Judge":
        if self.expected and self.scale == "numbers":
            raise ValueError("expected needs scale: letters, since 10 is two tokens in many vocabularies")
        return self

    @property
    def labels_are(self) -> Literal["numbers", "letters"]:
        """The scale that is asked for: letters where probabilities are read, else numbers, unless it is given."""
        return self.scale or ("letters" if self.expected else "numbers")


def judges_by_name(value: Any) -> Any:
    """The settings of judges as a job may write them, by name: none, those of one judge, or a mapping of names."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return value
    has_names = any(isinstance(each, Mapping | Judge) for each in value.values())
    return {name: each or {} for name, each in value.items()} if has_names else {ONE_JUDGE: value}


class Evaluation(Section):
    """How predictions are scored: settings of single metrics, and judges, each by its name.

    The settings of one judge may stand without a name, which then is `judge`. With `feature_keys` the judge maps every
    difference to a taxonomy, so that a user's differences can be counted. `controls` scores texts that nobody generated
    as well, between which a prediction's scores can be read.
    """

    metrics: dict[str, dict[str, Any]] = {}
    judge: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")], Judge] = {}
    feature_keys: bool = False
    controls: bool = False

    @field_validator("judge", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return judges_by_name(value)

    @model_validator(mode="after")
    def _columns_of_their_own(self) -> "Evaluation":
        for name in self.judge:
            if name.endswith("expected"):
                raise ValueError(
                    f"judge: the name {name!r} ends with 'expected', as a column of scores does; change it"
                )
        return self


class Runtime(Section):
    """How the job runs. Nothing here changes a result."""

    rows_per_part: Count = 32
    heartbeat_s: Annotated[float, Field(gt=0)] = 30
    max_attempts: Count = 3
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    lease_ttl_s: Annotated[float, Field(ge=3)] = 60
    num_cpus: Count | None = None
    resources_wait_s: Annotated[float, Field(ge=0)] = 0
    cache: str | None = None
    keep: tuple[Literal["thinking", "prompts"], ...] = ()
    reuse: bool = False


class Budget(Section):
    """What a run may take: it works on as many users as that is enough for, a random sample of them (`job.budget`).

    `tokens` are those of prompts and replies; `usd` is what they cost at `models.NAME.usd_per_million_tokens`; `hours`
    are the run's on the clock.
    """

    tokens: Count | None = None
    usd: Annotated[float, Field(gt=0)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: float(value) for name, value in self.model_dump(exclude_none=True).items()}


class Config(Section):
    """A job."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: Place
    root: Place
    method: str
    users: Users = Users()
    retrieval: Retrieval = Retrieval()
    selection: Selection = Selection()
    differences: Differences = Differences()
    embedding: Embedding = Embedding()
    models: Annotated[dict[str, Model], Field(min_length=1)]
    roles: Roles = Roles()
    sampling: AllSampling = AllSampling()
    prompts: Place | None = None
    evaluation: Evaluation = Evaluation()
    report: bool = True
    budget: Budget = Budget()
    runtime: Runtime = Runtime()
    protocol: str | None = None

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, name: str | None) -> str | None:
        return None if name is None else known_protocol(name)

    @model_validator(mode="after")
    def _roles_name_models(self) -> "Config":
        for role in ROLES:
            name = getattr(self.roles, role)
            if name is not None and name not in self.models:
                raise ValueError(f"roles.{role} names the model {name!r}: {nearest(name, self.models)}")
        return self

    @model_validator(mode="after")
    def _budget_can_be_kept(self) -> "Config":
        if self.budget.limits and self.users.limit is not None:
            raise ValueError("budget works on a random sample: give users.sample in place of users.limit")
        for name, model in self.models.items() if self.budget.usd is not None else ():
            if model.usd_per_million_tokens is None:
                raise ValueError(
                    f"budget.usd needs the price of every model: give models.{name}.usd_per_million_tokens"
                )
        return self

    @model_validator(mode="after")
    def _judges_name_models(self) -> "Config":
        for name, judge in self.evaluation.judge.items():
            if judge.model is not None and judge.model not in self.models:
                key = "evaluation.judge.model" if name == ONE_JUDGE else f"evaluation.judge.{name}.model"
                raise ValueError(f"{key} names the model {judge.model!r}: {nearest(judge.model, self.models)}")
        return self

    def model_of(self, role: Role) -> str:
        """The name of the model that plays a role: that of `roles`, or the only one that does not just judge.

        Raises:
            BadInput: no model was given for it.
        """
        name = getattr(self.roles, role)
        if name is not None:
            return str(name)
        others = [model for model in self.models if model not in judging_models(self)] or list(self.models)
        if len(others) == 1:
            return others[0]
        raise BadInput(f"roles.{role}: say which of the models {', '.join(sorted(self.models))} plays it")


def judging_models(config: Config) -> set[str]:
    """The names of the models that are named as judges."""
    named = {config.roles.judge, *(judge.model for judge in config.evaluation.judge.values())}
    return {name for name in named if name is not None}


def protocol_of(settings: Mapping[str, Any], where: str) -> str | None:
    """The protocol that a job's unchecked settings name, None where they name none.

    Raises:
        BadInput: it is no text, or there is no such protocol.
    """
    name = settings.get("protocol")
    if name is None:
        return None
    if not isinstance(name, str):
        raise BadInput(f"{where}: protocol is {name!r}: give one name, of {', '.join(PROTOCOL_NAMES)}")
    try:
        return known_protocol(name)
    except ValueError as error:
        raise BadInput(f"{where}: protocol: {error}") from error


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a job file and apply `a.b=value` overrides (values are YAML).

    Raises:
        BadInput: the file cannot be read, or a setting is unknown, mistyped or contradictory.
    """
    return checked(read_settings(path, overrides), str(path))


def read_settings(
    path: Path, overrides: Iterable[str] = (), settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read a job file and apply overrides (texts `key=value`, or values by key), without checking what they are.

    Raises:
        BadInput: the file cannot be read or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not YAML: {error}") from error
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: a job is a mapping of settings")
    for override in overrides:
        key, value = _parsed(override)
        _override(raw, key, value)
    for key, value in (settings or {}).items():
        _override(raw, key, value)
    return raw


def with_judges(raw: Mapping[str, Any], judges: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a job with further judges; one of the same name is replaced."""
    evaluation = raw.get("evaluation") or {}
    if not judges or not isinstance(evaluation, Mapping):
        return dict(raw)
    return {**raw, "evaluation": {**evaluation, "judge": {**judges_by_name(evaluation.get("judge")), **judges}}}


def judge_option(text: str) -> tuple[str, Any]:
    """A judge as the command line names it: `NAME`, or `NAME={samples: 5, …}`.

    Raises:
        BadInput: what follows the name is no mapping.
    """
    name, equals, value = text.partition("=")
    settings = parse_yaml(value, f"--judge {text}") if equals else {}
    if not name or not isinstance(settings, dict):
        raise BadInput(f"--judge {text}: write NAME or NAME={{samples: 5, model: …}}")
    return name, settings


def checked(raw: Mapping[str, Any], where: str) -> Config:
    """Make a configuration of settings that came from `where`.

    Raises:
        BadInput: a setting is unknown, mistyped or contradictory.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{where}: " + "; ".join(explain(problem, Config) for problem in error.errors())) from error


def _parsed(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadInput(f"--set {override}: write key=value")
    return key, parse_yaml(text, f"--set {override}")


def _override(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        child = section.get(parent)
        if child is None:
            child = section[parent] = {}
        if not isinstance(child, dict):
            raise BadInput(f"--set {key}={value}: {parent} holds a value, not settings")
        section = child
    section[last] = value


def explain(problem: Any, section: type[BaseModel]) -> str:
    """One problem that pydantic found in the settings of `section`, with the key and what would be right."""
    place = ".".join(str(step) for step in problem["loc"]).replace("judge.judge.", "judge.")
    if place.endswith("replicas.min") and not isinstance(problem["input"], Mapping):
        place = place.removesuffix(".min")
    if problem["type"] == "extra_forbidden":
        return (
            f"{place}: unknown setting; {nearest(str(problem['loc'][-1]), _known_keys(section, problem['loc'][:-1]))}"
        )
    if problem["type"] == "missing":
        return f"{place}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{place}: {message}" if place else message
    if problem["type"] == "tuple_type":
        message = "Input should be a list"
    if problem["type"] == "dict_type":
        message = "Input should be settings, each written key: value"
    if problem["type"] == "model_type":
        message = f"Input should be settings: {', '.join(_known_keys(section, problem['loc']))}"
    hint = "; a list of values is for drp-ray sweep" if isinstance(problem["input"], list) else ""
    return f"{place}: {message} (got {problem['input']!r}){hint}"


def _known_keys(section: type[BaseModel], steps: Sequence[Any]) -> list[str]:
    for step in steps:
        if section is Config and step == "models":
            return list(Model.model_fields) if len(steps) == 2 else []
        if section is Evaluation and step == "judge":
            return list(Judge.model_fields)
        annotation = section.model_fields[step].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)


def s3_options() -> S3Options:
    """The standard AWS variables; what is not set is left to boto3 on each machine."""
    return S3Options(
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=os.environ.get("AWS_SESSION_TOKEN"),
    )


def api_key(model: Model) -> str | None:
    """The key that a model's `api_key_env` names.

    Raises:
        BadInput: the variable is not set.
    """
    if model.api_key_env is None:
        return None
    key = os.environ.get(model.api_key_env)
    if not key:
        raise BadInput(f"the environment variable {model.api_key_env} (api_key_env of {model.id}) is not set")
    return key


PSEUDONYM_KEY = "DRP_RAY_PSEUDONYM_KEY"
MIN_KEY_CHARACTERS = 16


def pseudonym_key() -> bytes:
    """The key of pseudonyms, from the environment.

    Raises:
        BadInput: it is not set, or so short that it can be guessed.
    """
    key = os.environ.get(PSEUDONYM_KEY, "")
    if len(key) < MIN_KEY_CHARACTERS:
        raise BadInput(
            f"users.pseudonyms needs a key of {MIN_KEY_CHARACTERS} characters or more in the environment variable "
            f"{PSEUDONYM_KEY}, the same one for every run; keep it secret and apart from the results"
        )
    return key.encode()


def has_pseudonym_key() -> bool:
    """Whether the environment has a key of pseudonyms."""
    return PSEUDONYM_KEY in os.environ


def ray_address() -> str | None:
    """The cluster that Ray's own variable names, as it does inside a submitted job."""
    return os.environ.get("RAY_ADDRESS") or None


def cache_folder(runtime: Runtime) -> Path:
    """Where things that are fetched once a machine are kept: `runtime.cache`, else the user's cache.

    Raises:
        BadInput: that would be in a home, and there is none.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    users_own = f"{base}/drp-ray" if base else "~/.cache/drp-ray"
    try:
        return Path(_home_expanded(users_own if runtime.cache is None else runtime.cache))
    except ValueError as error:
        raise BadInput(f"runtime.cache: {error}") from error
