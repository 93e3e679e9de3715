"""A job file is read as it is written, and what is wrong in it is named by its key."""

import textwrap
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from drp_ray.config import (
    ROLES,
    Config,
    Evaluation,
    Judge,
    Model,
    Replicas,
    api_key,
    cache_folder,
    judge_option,
    load_config,
    s3_options,
    with_judges,
)
from drp_ray.errors import BadInput

DESIGNED = """
name: books-drp
dataset: s3://bucket/datasets/books/test
root: s3://bucket/drp
method: drp
users: {limit: null, sample: null, seed: 0}
retrieval: {n: 8}
selection: {strategy: kmeans, k: 4, n_init: 10, as_of: none}
differences: {dimensions: [writing, emotion, semantic], source: validated}
embedding: {model: Alibaba-NLP/gte-Qwen2-1.5B-instruct, revision: null, replicas: 8, num_gpus: 1,
            trust_remote_code: false}
models:
  reasoner: {engine: vllm, id: deepseek-ai/DeepSeek-R1-Distill-Qwen-14B, revision: null, replicas: 8,
             tensor_parallel: 1, max_model_len: 32768, engine_args: {}, system_prompt: merge}
  writer: {engine: vllm, id: Qwen/Qwen2.5-14B-Instruct, replicas: 8}
  api: {engine: openai, id: gpt-4o-mini, base_url: null, api_key_env: OPENAI_API_KEY, concurrency: 64, timeout_s: 120}
roles: {extractor: reasoner, validator: reasoner, summarizer: writer, generator: writer, judge: api}
sampling: {temperature: 0.8, top_p: 0.95, max_tokens: 2048, seed: 42, extractor: {max_tokens: 4096}}
prompts: null
runtime: {rows_per_part: 32, heartbeat_s: 30, max_attempts: 3, max_error_rate: 0.0}
"""

SMALL = """
name: small
dataset: data
root: out
method: drp
models:
  one: {engine: vllm, id: some/model}
"""


@pytest.fixture
def load(tmp_path):
    """Load a job from its text, with overrides."""

    def load(text, *overrides):
        path = tmp_path / "job.yaml"
        path.write_text(textwrap.dedent(text))
        return load_config(path, overrides)

    return load


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        return [leaf for key, child in value.items() for leaf in leaves(child, (*path, key))]
    return [(path, value)]


def test_every_designed_key_is_loaded_with_its_value(load):
    loaded = load(DESIGNED).model_dump(mode="json")
    for path, value in leaves(yaml.safe_load(DESIGNED)):
        found = loaded
        for key in path:
            found = found[key]
        assert found == value, ".".join(path)


def test_a_small_job_has_defaults_for_all_else(load):
    config = load(SMALL)
    assert config.model_dump() == load(SMALL + "retrieval: {}\nusers: {}\nsampling: {extractor: {}}\n").model_dump()


def test_jobs_of_the_repository_load():
    jobs = sorted((Path(__file__).parent.parent / "jobs").glob("*.yaml"))
    assert jobs
    for job in jobs:
        load_config(job)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("metod=drp", "metod: unknown setting; did you mean method?"),
        ("users.limt=3", "users.limt: unknown setting; did you mean limit?"),
        ("retrieval.N=3", "retrieval.N: unknown setting; known: document, "),
        ("embedding.num_gpu=1", "embedding.num_gpu: unknown setting; did you mean num_gpus?"),
        ("models.one.tensor_paralel=2", "models.one.tensor_paralel: unknown setting; did you mean tensor_parallel?"),
        (
            "models.one.replicas={most: 4}",
            "models.one.replicas.max: missing; models.one.replicas.most: unknown setting; ",
        ),
        ("models.two.idd=x", "models.two.idd: unknown setting; did you mean id?"),
        ("roles.extracter=one", "roles.extracter: unknown setting; did you mean extractor?"),
        ("sampling.temprature=1", "sampling.temprature: unknown setting; did you mean temperature?"),
        ("sampling.judge.seeds=1", "sampling.judge.seeds: unknown setting; known: max_tokens, min_p, "),
        ("sampling.extractor.max_token=1", "sampling.extractor.max_token: unknown setting; did you mean max_tokens?"),
        ("runtime.heartbeat=1", "runtime.heartbeat: unknown setting; did you mean heartbeat_s?"),
    ],
)
def test_an_unknown_key_anywhere_names_the_nearest(load, override, says):
    with pytest.raises(BadInput, match=f"job.yaml: .*{says}".replace("?", r"\?")):
        load(SMALL, override)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("users.limit", "0"),
        ("users.sample", "many"),
        ("retrieval.n", "-1"),
        ("retrieval.variant", "okapi"),
        ("retrieval.query", "[title]"),
        ("selection.k", "0"),
        ("selection.as_of", "null"),
        ("differences.dimensions", "[humour]"),
        ("differences.source", "both"),
        ("embedding.num_gpus", "-1"),
        ("embedding.num_gpus", "1.5"),
        ("models.one.num_gpus", "1.5"),
        ("embedding.num_cpus", "-1"),
        ("embedding.replicas", "0"),
        ("embedding.replicas", "many"),
        ("models.one.replicas", "[1, 8]"),
        ("models.one.replicas.max", "0"),
        ("models.one", "some/model"),
        ("models.one.system_prompt", "drop"),
        ("models.one.timeout_s", "0"),
        ("sampling.temperature", "-0.1"),
        ("sampling.temperature", ".nan"),
        ("sampling.top_p", "1.5"),
        ("sampling.generator.temperature", ".inf"),
        ("sampling.generator.top_p", "0"),
        ("sampling.max_tokens", "1.5"),
        ("runtime.max_error_rate", "1.01"),
        ("runtime.rows_per_part", "0"),
        ("runtime.lease_ttl_s", "1"),
        ("runtime", "fast"),
        ("name", "a/b"),
        ("name", "''"),
    ],
)
def test_a_value_out_of_bounds_is_named_by_its_key(load, key, value):
    with pytest.raises(BadInput) as told:
        load(SMALL, f"{key}={value}")
    assert f"job.yaml: {key}" in str(told.value)
    assert "(got " in str(told.value)


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("runtime.keep", "thinking", "a list"),
        ("retrieval.query", "{a: 1}", "a list"),
        ("budget", "5", "tokens, usd, hours"),
        ("models.one", "some/model", "engine, id"),
        ("models", "some/model", "key: value"),
        ("evaluation", "7", "metrics, judge"),
    ],
)
def test_what_should_hold_several_values_is_told_in_words_of_yaml(load, key, value, right):
    with pytest.raises(BadInput, match=f"{key}: Input should be .*{right}") as told:
        load(SMALL, f"{key}={value}")
    assert not any(word in str(told.value) for word in ("tuple", "dictionary", "instance"))


@pytest.mark.parametrize("key", ["sampling.temperature", "sampling.validator.top_k", "users.limit", "users.seed"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_yes_and_no_are_no_numbers(load, key, value):
    with pytest.raises(BadInput, match=rf"{key}: a number is wanted, not true or false"):
        load(SMALL, f"{key}={value}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["users.limit=3", "users.sample=3"], "users.limit or users.sample, not both"),
        (["retrieval.query=[review_text]"], "retrieval.query cannot hold review_text"),
        (["retrieval.document=[]"], "retrieval.document each need at least one field"),
        (["embedding.trust_remote_code=true"], "pin embedding.revision"),
        (["models.one.engine=vlm"], "models.one: engine 'vlm' is unknown: did you mean vllm?, or give"),
        (["models.one.base_url=http://x"], "models.one: base_url has no meaning for engine vllm"),
        (["models.one.api_key_env=KEY"], "models.one: api_key_env has no meaning for engine vllm"),
        (
            ["models.one.engine=openai", "models.one.num_gpus=1", "models.one.engine_args={}"],
            "models.one: engine_args, num_gpus has no meaning for engine openai",
        ),
        (["roles.generator=two"], "roles.generator names the model 'two': known: one"),
        (["roles.judge=won"], "roles.judge names the model 'won': did you mean one?"),
    ],
)
def test_contradictory_settings_are_refused(load, overrides, says):
    with pytest.raises(BadInput) as told:
        load(SMALL, *overrides)
    assert says in str(told.value)


@pytest.mark.parametrize("key", ["name", "dataset", "root", "method", "models"])
def test_what_has_no_default_must_be_given(load, key):
    job = {name: value for name, value in yaml.safe_load(SMALL).items() if name != key}
    with pytest.raises(BadInput, match=f"{key}: missing"):
        load(yaml.safe_dump(job))


def test_a_model_needs_an_id(load):
    with pytest.raises(BadInput, match=r"models\.two\.id: missing"):
        load(SMALL, "models.two.replicas=2")


def test_all_that_is_wrong_is_said_at_once(load):
    with pytest.raises(BadInput, match=r"users\.limit: .*retrieval\.n: .*nam: unknown"):
        load(SMALL, "users.limit=0", "retrieval.n=x", "nam=y")


class TestOverrides:
    def test_a_nested_value_is_replaced_and_its_neighbours_stay(self, load):
        config = load(DESIGNED, "sampling.extractor.max_tokens=100", "selection.k=2")
        assert config.sampling.extractor.max_tokens == 100
        assert (config.selection.k, config.selection.n_init) == (2, 10)
        assert config.sampling.seed == 42

    def test_sections_and_models_that_are_not_there_are_made(self, load):
        config = load(SMALL, "runtime.max_attempts=7", "models.two.id=other/model", "models.two.engine=openai")
        assert config.runtime.max_attempts == 7
        assert config.models["two"].id == "other/model"
        assert config.models["one"].id == "some/model"

    def test_a_section_that_is_null_is_made(self, load):
        with pytest.raises(BadInput, match="users: "):
            load(SMALL + "users: null\n")
        assert load(SMALL + "users: null\n", "users.limit=3").users.limit == 3

    def test_values_are_yaml(self, load):
        config = load(
            SMALL, "users.limit=null", "prompts=", "retrieval.query=[item_title]", "models.one.id=a=b", "name='1'"
        )
        assert config.users.limit is None
        assert config.prompts is None
        assert config.retrieval.query == ("item_title",)
        assert config.models["one"].id == "a=b"
        assert config.name == "1"

    def test_the_last_of_two_counts(self, load):
        assert load(SMALL, "users.limit=1", "users.limit=2").users.limit == 2

    @pytest.mark.parametrize(
        ("override", "says"),
        [
            ("users.limit", "--set users.limit: write key=value"),
            ("=3", "--set =3: write key=value"),
            ("name.first=x", "--set name.first=x: name holds a value, not settings"),
            ("users.limit={", "--set users.limit={: not YAML"),
            ("users..limit=3", "users.: unknown setting"),
        ],
    )
    def test_what_cannot_be_applied_is_refused(self, load, override, says):
        with pytest.raises(BadInput) as told:
            load(SMALL, override)
        assert says in str(told.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "a job is a mapping of settings"),
        ("", "a job is a mapping of settings"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_a_file_that_is_no_job_is_refused(load, text, says):
    with pytest.raises(BadInput, match=f"job.yaml: {says}"):
        load(text)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"job\.yaml: not YAML"):
        load_config(tmp_path / "job.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            load_config(path)


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("model", "id"),
        ("revision", "revision"),
        ("max_model_len", "max_model_len"),
        ("trust_remote_code", "trust_remote_code"),
        ("tensor_parallel_size", "tensor_parallel"),
    ],
)
def test_an_engine_argument_that_has_a_key_of_its_own_is_refused(load, argument, key):
    with pytest.raises(BadInput, match=rf"engine_args\.{argument}: give it as {key}, beside engine_args"):
        load(SMALL, f"models.one.engine_args.{argument}=1")


def test_a_role_draws_as_all_do_but_for_what_it_overrides(load):
    sampling = load(
        SMALL, "sampling.temperature=0.5", "sampling.extractor.max_tokens=9", "sampling.judge.temperature=0"
    ).sampling
    assert sampling.of("generator").model_dump(exclude_none=True) == {
        "temperature": 0.5,
        "top_p": 0.95,
        "max_tokens": 2048,
    }
    assert sampling.of("extractor").model_dump(exclude_none=True) == {
        "temperature": 0.5,
        "top_p": 0.95,
        "max_tokens": 9,
    }
    assert sampling.of("judge").model_dump(exclude_none=True) == {"temperature": 0.0, "top_p": 0.95, "max_tokens": 2048}


def test_the_only_model_plays_every_role_and_of_several_one_must_be_named(load):
    assert {load(SMALL).model_of(role) for role in ROLES} == {"one"}
    config = load(SMALL, "models.two.id=m", "roles.generator=two")
    assert config.model_of("generator") == "two"
    with pytest.raises(BadInput, match=r"roles\.judge: say which of the models one, two plays it"):
        config.model_of("judge")


def test_a_model_holds_as_many_gpus_as_it_is_spread_over():
    assert Model(id="m", tensor_parallel=2).gpus == 2
    assert Model(id="m", tensor_parallel=2, num_gpus=0).gpus == 0
    assert Model(id="m", engine="openai").gpus == 0
    assert Model(id="m", engine="tests.own:Engine", num_gpus=1).gpus == 1


def test_a_model_may_hold_a_part_of_one_gpu_but_not_of_several():
    assert Model(id="m", num_gpus=0.5).gpus == 0.5
    with pytest.raises(ValidationError, match=r"num_gpus 0\.5 is a part of one GPU, tensor_parallel takes 2"):
        Model(id="m", num_gpus=0.5, tensor_parallel=2)


def test_an_api_key_comes_from_the_variable_that_is_named(monkeypatch):
    model = Model(engine="openai", id="gpt", api_key_env="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "secret")
    assert api_key(model) == "secret"
    assert api_key(Model(engine="openai", id="gpt")) is None


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_api_key_is_bad_input_that_names_the_variable_and_the_model(monkeypatch, value):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(BadInput, match=r"SOME_KEY \(api_key_env of gpt\) is not set"):
        api_key(Model(engine="openai", id="gpt", api_key_env="SOME_KEY"))


def test_s3_options_come_from_the_standard_variables(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "there")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    options = s3_options()
    assert (options.endpoint_url, options.region, options.access_key) == ("http://all", "there", "id")
    assert (options.secret_key, options.session_token) == (None, None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3")
    monkeypatch.setenv("AWS_REGION", "here")
    assert (s3_options().endpoint_url, s3_options().region) == ("http://s3", "here")


def test_the_cache_is_where_it_is_asked_for_else_the_users(load, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(load(SMALL).runtime) == Path("/xdg/drp-ray")
    assert cache_folder(load(SMALL, "runtime.cache=/own").runtime) == Path("/own")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder(load(SMALL).runtime) == Path("/home/somebody/.cache/drp-ray")


@pytest.mark.parametrize("override", ["dataset=~nobody-of-this-name/x", "root=~nobody-of-this-name"])
def test_a_home_that_is_not_known_is_bad_input(load, override):
    key = override.partition("=")[0]
    with pytest.raises(BadInput, match=rf"{key}: .*~nobody-of-this-name.*write the whole path"):
        load(SMALL, override)


def test_an_account_without_a_home_is_told_so_where_one_is_needed(load, monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(BadInput, match=r"dataset: ~/x: .*write the whole path"):
        load(SMALL, "dataset=~/x")
    with pytest.raises(BadInput, match=r"runtime\.cache: ~/x: .*write the whole path"):
        cache_folder(load(SMALL, "runtime.cache=~/x").runtime)
    with pytest.raises(BadInput, match=r"runtime\.cache"):
        cache_folder(load(SMALL).runtime)


def test_a_configuration_cannot_be_changed_after_it_was_checked(load):
    with pytest.raises(ValueError, match="frozen"):
        load(SMALL).users.limit = 3


class TestJudges:
    """One judge needs no name; several have theirs; what is wrong is named by its key."""

    @pytest.mark.parametrize("setting", ["", "evaluation: {judge: null}", "evaluation: {}"])
    def test_by_default_nobody_judges(self, load, setting):
        assert load(SMALL + setting).evaluation.judge == {}

    @pytest.mark.parametrize(
        "settings", ["{}", "{samples: 2, expected: false}", "{judge: {}}", "{judge: {samples: 2}}"]
    )
    def test_one_judge_is_named_judge(self, load, settings):
        assert load(f"{SMALL}evaluation: {{judge: {settings}}}").evaluation.judge == {"judge": Judge()}

    def test_several_have_names_and_models(self, load):
        judges = load(SMALL + "evaluation: {judge: {s72b: {model: one}, gpt: {samples: 5}}}").evaluation.judge
        assert judges == {"s72b": Judge(model="one"), "gpt": Judge(samples=5)}

    def test_what_is_written_down_is_read_again(self, load):
        evaluation = load(SMALL + "evaluation: {judge: {expected: true}}").evaluation
        assert Evaluation.model_validate(evaluation.model_dump(mode="json")) == evaluation

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ("{sample: 2}", r"evaluation\.judge\.sample: unknown setting; .*samples"),
            ("{gpt: {sample: 2}}", r"evaluation\.judge\.gpt\.sample: unknown setting; .*samples"),
            ("{samples: 0}", r"evaluation\.judge\.samples: .*1"),
            ("{expected: true, scale: numbers}", "needs scale: letters"),
            ("{model: two}", r"evaluation\.judge\.model names the model 'two'.*one"),
            ("{gpt: {model: two}}", r"evaluation\.judge\.gpt\.model names the model 'two'"),
            ("{a-b: {samples: 2}}", r"evaluation\.judge"),
            ("{is_expected: {samples: 2}}", "ends with 'expected'"),
            ("3", r"evaluation\.judge"),
            ("{rubric: ../secret}", r"evaluation\.judge\.rubric"),
        ],
    )
    def test_what_is_wrong_is_named(self, load, settings, message):
        with pytest.raises(BadInput, match=message):
            load(f"{SMALL}evaluation: {{judge: {settings}}}")

    def test_samples_have_a_limit_that_memory_can_bear(self, load):
        assert load(f"{SMALL}evaluation: {{judge: {{samples: 1000}}}}").evaluation.judge["judge"].samples == 1000
        with pytest.raises(BadInput, match=r"evaluation\.judge\.samples: .* less than or equal to 1000"):
            load(f"{SMALL}evaluation: {{judge: {{samples: 1001}}}}")

    def test_probabilities_are_read_on_labels_of_one_token(self):
        assert (Judge().labels_are, Judge(expected=True).labels_are) == ("numbers", "letters")

    def test_a_model_that_only_judges_leaves_the_other_roles_to_the_other_one(self, load):
        config = load(SMALL, "models.gpt={engine: openai, id: gpt-4o-mini}", "evaluation.judge.model=gpt")
        assert (config.model_of("generator"), config.model_of("judge")) == ("one", "one")
        assert load(SMALL, "evaluation.judge.model=one").model_of("generator") == "one"

    @pytest.mark.parametrize("there", [None, {}, {"samples": 3}, {"judge": {"samples": 3}}])
    def test_further_judges_stand_beside_those_of_the_job(self, there):
        found = with_judges({"evaluation": {"judge": there}}, {"gpt": {"samples": 5}})["evaluation"]["judge"]
        before = {} if there is None else {"judge": {"samples": 3} if there else {}}
        assert found == {**before, "gpt": {"samples": 5}}
        assert with_judges({"evaluation": {"judge": there}}, {}) == {"evaluation": {"judge": there}}

    def test_the_option_names_a_judge_with_or_without_settings(self):
        assert judge_option("gpt") == ("gpt", {})
        assert judge_option("gpt={samples: 5, model: m}") == ("gpt", {"samples": 5, "model": "m"})
        for wrong in ("gpt=5", "gpt=[", "={}", "gpt="):
            with pytest.raises(BadInput, match="--judge"):
                judge_option(wrong)


def test_replicas_are_a_number_or_bounds_and_written_as_they_were_given(load):
    assert Model(id="m").replicas == Replicas(min=1, max=1)
    for written, fewest, most in [("5", 5, 5), ("{min: 2, max: 8}", 2, 8), ("{max: 4}", 1, 4)]:
        config = load(SMALL, f"models.one.replicas={written}", f"embedding.replicas={written}")
        for replicas in (config.models["one"].replicas, config.embedding.replicas):
            assert (replicas.min, replicas.max) == (fewest, most)
        again = Config.model_validate(config.model_dump(mode="json", exclude_unset=True))
        assert again == config
    assert load(SMALL, "embedding.replicas=3").model_dump()["embedding"]["replicas"] == 3


@pytest.mark.parametrize(
    ("value", "says"), [("true", "not true or false"), ("{min: 3, max: 2}", "min is 3, which is more than max, 2")]
)
def test_replicas_that_make_no_sense_are_refused_by_their_key(load, value, says):
    with pytest.raises(BadInput, match=f"models.one.replicas: .*{says}"):
        load(SMALL, f"models.one.replicas={value}")
