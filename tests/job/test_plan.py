"""A setting renames the stages that it changes and those made from them, and no other."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from drp_ray.config import load_config
from drp_ray.errors import BadInput
from drp_ray.job import plan as plan_module
from drp_ray.job.plan import make_plan
from drp_ray.methods.base import METHODS
from drp_ray.prompts.pack import BUILT_IN
from drp_ray.storage.folder import LocalFolder

ORDER = [
    "users", "retrieved", "items", "embeddings", "comparisons", "differences", "contexts", "predictions", "scores"
]  # fmt: skip
MADE_FROM = {
    "users": [],
    "retrieved": ["users"],
    "items": ["users", "retrieved"],
    "embeddings": ["items"],
    "comparisons": ["items", "embeddings"],
    "differences": ["comparisons"],
    "contexts": ["users", "retrieved", "differences"],
    "predictions": ["contexts"],
    "scores": ["predictions", "users"],
}
IDENTITY = {"users/part-0.parquet": "a1", "items/part-0.parquet": "b2"}
JOB = {
    "name": "job",
    "dataset": "data",
    "root": "out",
    "method": "drp",
    "models": {
        "reasoner": {"id": "some/reasoner", "engine_args": {"max_num_seqs": 8}},
        "writer": {"id": "some/writer"},
    },
    "roles": {"extractor": "reasoner", "validator": "reasoner", "summarizer": "writer", "generator": "writer"},
    "embedding": {"model": "some/embedder"},
}


@pytest.fixture
def plan(tmp_path):
    """Plan the job with overrides."""

    def plan(*overrides, identity=IDENTITY, dataset="data"):
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(JOB))
        return make_plan(load_config(path, overrides), dataset, identity, LocalFolder(Path("/root-of-results")))

    return plan


def prints(plan):
    return {name: info.fingerprint for name, info in plan.stages.items()}


def roles_of(plan):
    programmes = (plan.spec.method, plan.spec.differences)
    return {role for programme in programmes if programme is not None for role in programme.roles}


def downstream(*changed):
    """The changed stages and all that are made from them, directly or not."""
    found = set(changed)
    for name in ORDER:
        if found & set(MADE_FROM[name]):
            found.add(name)
    return found


def changed(one, other):
    """The stages whose fingerprints differ."""
    one, other = prints(one), prints(other)
    assert list(one) == list(other)
    return {name for name in one if one[name] != other[name]}


def test_the_stages_come_in_their_order_and_lie_where_the_layout_says(plan):
    stages = plan().stages
    assert list(stages) == ORDER
    for name, info in stages.items():
        assert info.folder.uri == f"/root-of-results/data/{name}/{info.fingerprint}"
        assert info.made_from["inputs"] == {source: stages[source].fingerprint for source in MADE_FROM[name]}


def test_the_same_job_has_the_same_plan(plan):
    assert prints(plan()) == prints(plan())


@pytest.mark.parametrize(
    ("override", "stage"),
    [
        ("users.limit=5", "users"),
        ("users.sample=5", "users"),
        ("retrieval.n=3", "retrieved"),
        ("retrieval.query=[item_title]", "retrieved"),
        ("retrieval.document=[item_title, review_text]", "retrieved"),
        ("retrieval.variant=lucene", "retrieved"),
        ("retrieval.lowercase=true", "retrieved"),
        ("selection.k=2", "retrieved"),
        ("embedding.model=other/embedder", "embeddings"),
        ("embedding.revision=abc", "embeddings"),
        ("embedding.max_tokens=128", "embeddings"),
        ("embedding.engine=my.own:Embedder", "embeddings"),
        ("selection.strategy=random", "comparisons"),
        ("selection.n_init=1", "comparisons"),
        ("selection.seed=1", "comparisons"),
        ("selection.as_of=target", "retrieved"),
        ("differences.dimensions=[writing]", "differences"),
        ("differences.dimensions=[semantic, emotion, writing]", "differences"),
        ("sampling.extractor.temperature=0", "differences"),
        ("sampling.validator.max_tokens=9", "differences"),
        ("sampling.seed=1", "differences"),
        ("sampling.temperature=0.1", "differences"),
        ("roles.extractor=writer", "differences"),
        ("models.reasoner.id=other/reasoner", "differences"),
        ("models.reasoner.revision=abc", "differences"),
        ("models.reasoner.system_prompt=merge", "differences"),
        ("models.reasoner.max_model_len=4096", "differences"),
        ("models.reasoner.chat_template_kwargs={enable_thinking: false}", "differences"),
        ("models.reasoner.engine_args.quantization=awq", "differences"),
        ("models.reasoner.engine_args.tokenizer=other/tokenizer", "differences"),
        ("models.reasoner.engine_args.load_format=dummy", "differences"),
        ("models.reasoner.engine_args.generation_config=vllm", "differences"),
        ("models.reasoner.engine_args.override_generation_config={top_k: 5}", "differences"),
        ("models.reasoner.engine_args.enable_lora=true", "differences"),
        ("models.reasoner.engine_args.logits_processors=[a.b]", "differences"),
        ("models.reasoner.engine_args.model_impl=transformers", "differences"),
        ("models.reasoner.engine_args.never_heard_of=1", "differences"),
        ("models.reasoner.trust_remote_code=true", "differences"),
        ("models.reasoner.thinking=always", "differences"),
        ("models.reasoner.seeds=false", "differences"),
        ("sampling.extractor.top_k=5", "differences"),
        ("sampling.extractor.stop=[x]", "differences"),
        ("sampling.generator.min_p=0.1", "predictions"),
        ("sampling.generator.repetition_penalty=1.1", "predictions"),
        ("sampling.generator.presence_penalty=0.5", "predictions"),
        ("differences.source=raw", "contexts"),
        ("sampling.generator.temperature=0", "predictions"),
        ("sampling.summarizer.top_p=0.5", "predictions"),
        ("models.writer.id=other/writer", "predictions"),
        ("models.writer.engine=openai", "predictions"),
        ("roles.generator=reasoner", "predictions"),
    ],
)
def test_a_setting_that_changes_results_renames_its_stage_and_what_is_made_from_it(plan, override, stage):
    assert changed(plan(), plan(override)) == downstream(stage)


@pytest.mark.parametrize(
    "override",
    [
        "name=another",
        "root=elsewhere",
        "models.writer.replicas=3",
        "models.writer.replicas={min: 1, max: 3}",
        "models.writer.num_gpus=0",
        "models.writer.num_cpus=4",
        "models.writer.tensor_parallel=2",
        "models.writer.concurrency=7",
        "models.writer.timeout_s=7",
        "models.writer.max_retries=0",
        "models.writer.engine_args.gpu_memory_utilization=0.5",
        "models.reasoner.engine_args.max_num_seqs=64",
        "models.reasoner.engine_args.load_format=auto",
        "models.reasoner.engine_args.load_format=safetensors",
        "models.unused.id=some/model",
        "sampling.judge.temperature=0.3",
        "embedding.replicas=3",
        "embedding.replicas={min: 1, max: 3}",
        "embedding.num_gpus=0",
        "embedding.num_cpus=0.5",
        "embedding.batch_size=3",
        "runtime.rows_per_part=3",
        "runtime.heartbeat_s=3",
        "runtime.max_attempts=7",
        "runtime.max_error_rate=0.5",
        "runtime.num_cpus=3",
        "runtime.lease_ttl_s=7",
        "runtime.resources_wait_s=7",
        "runtime.cache=/somewhere",
        "runtime.keep=[thinking, prompts]",
    ],
)
def test_a_setting_that_cannot_change_results_renames_nothing(plan, override):
    assert changed(plan(), plan(override)) == set()


def test_a_pool_has_the_replicas_and_cpus_that_its_models_may_have(plan):
    bounded = plan("models.reasoner.replicas={min: 2, max: 6}", "models.reasoner.num_cpus=3", "embedding.num_cpus=2")
    pools = {name: resources.pool for name, resources in bounded.resources().items()}
    assert (pools["differences"].fewest, pools["differences"].replicas, pools["differences"].num_cpus) == (2, 6, 3)
    assert (pools["embeddings"].fewest, pools["embeddings"].replicas, pools["embeddings"].num_cpus) == (8, 8, 2)


@pytest.mark.parametrize(("reasoner", "writer", "gpus"), [(0.5, 0.5, 1), (0.5, 0.7, 2), (1, 0.5, 2), (0.2, 0.3, 0.5)])
def test_a_worker_that_holds_two_models_takes_a_part_of_a_gpu_or_whole_ones(plan, reasoner, writer, gpus):
    shared = plan(
        f"models.reasoner.num_gpus={reasoner}", f"models.writer.num_gpus={writer}", "roles.summarizer=reasoner"
    )
    assert shared.resources()["differences"].pool.num_gpus == reasoner
    assert shared.resources()["predictions"].pool.num_gpus == pytest.approx(gpus)


@pytest.mark.parametrize("stage", ORDER)
def test_a_new_version_of_a_stage_renames_it_and_what_is_made_from_it(plan, monkeypatch, stage):
    before = plan()
    raised = [replace(each, version=each.version + 1) if each.name == stage else each for each in plan_module.STAGES]
    monkeypatch.setattr(plan_module, "STAGES", raised)
    assert changed(before, plan()) == downstream(stage)


@pytest.mark.parametrize("method", ["dpl", "drp", "cicl", "persona-db", "rag", "intsum", "nonperso", "llm-trsr"])
def test_a_fallback_that_changes_renames_the_predictions_of_all_methods_that_fall_back_to_it(plan, monkeypatch, method):
    for name in ("intsum", "nonperso"):
        before = prints(plan(f"method={method}"))
        with monkeypatch.context() as changed_methods:
            changed_methods.setitem(METHODS, name, replace(METHODS[name], version=METHODS[name].version + 1))
            after = prints(plan(f"method={method}"))
        depends = name in {method, *(each.name for each in METHODS[method].fallbacks)}
        assert (before["predictions"] != after["predictions"]) == depends
        assert before["contexts"] == after["contexts"]


JUDGES = "evaluation.judge={judge: {model: reasoner}, gpt: {samples: 5, model: reasoner}}"


def test_judges_are_stages_of_their_own_after_all_others_and_rename_none(plan):
    judged = plan(JUDGES)
    assert list(judged.stages) == [*ORDER, "judgements", "judgements-gpt"]
    assert {name: prints(judged)[name] for name in ORDER} == prints(plan())
    assert judged.stages["judgements-gpt"].folder.uri.startswith("/root-of-results/data/judgements-gpt/")
    assert judged.resources()["judgements"].models.keys() == {"reasoner"}


@pytest.mark.parametrize(
    ("override", "renamed"),
    [
        ("evaluation.judge.gpt.samples=6", {"judgements-gpt"}),
        ("evaluation.judge.gpt.model=writer", {"judgements-gpt"}),
        ("evaluation.judge.judge.scale=letters", {"judgements"}),
        ("sampling.judge.temperature=0.1", {"judgements", "judgements-gpt"}),
        ("sampling.generator.temperature=0.1", {"predictions", "scores", "judgements", "judgements-gpt"}),
        ("models.reasoner.replicas=3", set()),
        ("runtime.max_attempts=7", set()),
    ],
)
def test_a_setting_of_a_judge_renames_that_judge_alone(plan, override, renamed):
    assert changed(plan(JUDGES), plan(JUDGES, override)) == renamed


def test_a_judge_without_a_model_is_asked_for_one(plan):
    with pytest.raises(BadInput, match=r"roles\.judge: say which of the models"):
        plan("evaluation.judge={}")


def test_a_rubric_that_is_not_there_is_refused_before_anything_runs(plan):
    with pytest.raises(BadInput, match=r"no rubric judge_style\.j2"):
        plan("evaluation.judge={model: writer, rubric: judge_style}")


def test_another_content_of_the_dataset_renames_everything(plan):
    assert changed(plan(), plan(identity={**IDENTITY, "users/part-0.parquet": "a2"})) == set(ORDER)
    assert changed(plan(), plan(identity={**IDENTITY, "items/part-1.parquet": "c"})) == set(ORDER)


def test_another_dataset_of_equal_content_lies_elsewhere(plan):
    assert {info.folder.uri.split("/")[2] for info in plan(dataset="books-test").stages.values()} == {"books-test"}


class TestPrompts:
    @pytest.fixture
    def pack(self, tmp_path):
        return Path(shutil.copytree(BUILT_IN, tmp_path / "pack"))

    def test_a_copy_of_the_built_in_pack_is_the_same(self, plan, pack):
        assert changed(plan(), plan(f"prompts={pack}")) == set()

    @pytest.mark.parametrize(
        ("template", "stages"),
        [
            ("system", ["differences", "predictions"]),
            ("comparison", ["differences"]),
            ("drp_extract", ["differences"]),
            ("drp_validate", ["differences"]),
            ("history", ["predictions"]),
            ("summarize", ["predictions"]),
            ("generate", ["predictions"]),
            ("dpl_extract", []),
        ],
    )
    def test_an_edited_template_renames_the_stages_that_ask_with_it(self, plan, pack, template, stages):
        path = pack / f"{template}.j2"
        path.write_text(path.read_text() + "\nMind the gap.")
        assert changed(plan(), plan(f"prompts={pack}")) == downstream(*stages)


class TestLocalModels:
    """A folder is known by what is in it, not by where it lies."""

    @pytest.fixture
    def model(self, tmp_path):
        folder = tmp_path / "model"
        (folder / "sub").mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "sub" / "weights").write_bytes(bytes(100))
        return folder

    def test_a_copy_elsewhere_is_the_same_model(self, plan, model, tmp_path):
        copy = shutil.copytree(model, tmp_path / "copy")
        (copy / ".cache").write_text("hidden files are no part of it")
        assert changed(plan(f"models.writer.id={model}"), plan(f"models.writer.id={copy}")) == set()

    @pytest.mark.parametrize("change", ["content", "name", "more", "fewer"])
    def test_a_changed_folder_is_another(self, plan, model, change):
        before = plan(f"models.writer.id={model}")
        weights = model / "sub" / "weights"
        if change == "content":
            weights.write_bytes(bytes(99) + b"1")
        elif change == "name":
            weights.rename(model / "weights")
        elif change == "more":
            (model / "more").write_text("")
        else:
            weights.unlink()
        assert changed(before, plan(f"models.writer.id={model}")) == downstream("predictions")

    @pytest.mark.parametrize("place", [0, -1])
    def test_large_weights_are_told_apart_by_both_ends(self, plan, model, place):
        weights = bytearray(17 * 2**20)
        (model / "sub" / "weights").write_bytes(weights)
        before = plan(f"models.writer.id={model}")
        weights[place] = 1
        (model / "sub" / "weights").write_bytes(weights)
        assert changed(before, plan(f"models.writer.id={model}")) == downstream("predictions")

    def test_the_embedder_too(self, plan, model):
        before = plan(f"embedding.model={model}")
        (model / "config.json").write_text("{ }")
        assert changed(before, plan(f"embedding.model={model}")) == downstream("embeddings")


class TestEndpoints:
    ENDPOINT = ("models.writer.engine=openai", "models.writer.id=llm")

    def test_two_endpoints_that_call_their_models_alike_share_nothing(self, plan):
        one, other = (plan(*self.ENDPOINT, f"models.writer.base_url=http://{host}/v1") for host in ("a", "b"))
        assert changed(one, other) == downstream("predictions")

    def test_endpoints_of_one_identity_share_everything(self, plan):
        addresses = [f"models.writer.base_url=http://{host}/v1" for host in ("a", "b")]
        one, other = (plan(*self.ENDPOINT, address, "models.writer.identity=Qwen2.5-14B") for address in addresses)
        assert changed(one, other) == set()
        assert changed(one, plan(*self.ENDPOINT, addresses[0], "models.writer.identity=other")) == downstream(
            "predictions"
        )


class TestMethods:
    def test_dpl_and_drp_share_everything_through_comparisons(self, plan):
        dpl, drp = plan("method=dpl"), plan("method=drp")
        assert changed(dpl, drp) == downstream("differences")
        assert dpl.spec.differences.name == "dpl"

    @pytest.mark.parametrize("method", ["nonperso", "rag", "intsum"])
    def test_a_method_without_differences_has_no_such_branch(self, plan, method):
        planned = plan(f"method={method}")
        assert list(planned.stages) == ["users", "retrieved", "contexts", "predictions", "scores"]
        assert planned.spec.differences is None

    def test_methods_share_what_they_have_in_common(self, plan):
        rag, nonperso, drp = (prints(plan(f"method={method}")) for method in ("rag", "nonperso", "drp"))
        shared = {name for name in rag if rag[name] == nonperso[name]}
        assert shared == {"users", "retrieved", "contexts"}
        assert {name for name in rag if rag[name] == drp[name]} == {"users", "retrieved"}

    def test_settings_of_a_branch_that_is_not_run_rename_nothing(self, plan):
        for override in ("selection.n_init=1", "embedding.model=x/y", "roles.extractor=writer"):
            assert changed(plan("method=rag"), plan("method=rag", override)) == set()

    def test_the_roles_are_those_that_are_asked(self, plan):
        asked = {method: roles_of(plan(f"method={method}")) for method in ("nonperso", "intsum", "dpl", "drp")}
        assert asked == {
            "nonperso": {"generator"},
            "intsum": {"generator", "summarizer"},
            "dpl": {"generator", "summarizer", "extractor"},
            "drp": {"generator", "summarizer", "extractor", "validator"},
        }

    def test_an_unknown_method_is_bad_input_with_the_nearest(self, plan):
        with pytest.raises(BadInput, match=r"method: there is no method 'dlp'; did you mean d.p\?"):
            plan("method=dlp")

    def test_an_unknown_strategy_is_bad_input_also_where_nobody_is_compared(self, plan):
        for method in ("drp", "rag"):
            with pytest.raises(BadInput, match=r"selection\.strategy: there is no strategy 'kmedoids'; known: kmeans"):
                plan("selection.strategy=kmedoids", f"method={method}")

    def test_a_role_without_a_model_is_bad_input(self, plan):
        with pytest.raises(BadInput, match=r"roles\.generator: say which"):
            plan("roles.generator=null")

    def test_a_prompt_pack_that_is_not_there_is_bad_input(self, plan):
        with pytest.raises(BadInput, match="no such folder"):
            plan("prompts=no/such/pack")

    def test_an_embedding_package_that_is_not_there_is_bad_input(self, plan):
        with pytest.raises(BadInput, match="no_such_package is not installed"):
            plan("embedding.model=package:no_such_package")


class TestOwnClasses:
    def test_a_changed_source_of_an_engine_or_embedder_is_another_one(self, plan, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        settings = ("models.writer.engine=own_engine_module:Engine", "embedding.engine=own_engine_module:Embedder")
        plans = []
        for source in ("SIZE = 8", "SIZE = 16"):
            (tmp_path / "own_engine_module.py").write_text(source)
            plans.append(plan(*settings))
        assert changed(*plans) == downstream("embeddings", "predictions")
