import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.data import tiny_model
from drp_ray.data.tiny_model import build_tiny_model

MESSAGES = [
    {"role": "system", "content": "You write reviews."},
    {"role": "user", "content": "Write one."},
    {"role": "assistant", "content": "It is fine."},
    {"role": "user", "content": "Another."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(deadline=None)
@given(text=st.text())
def test_any_text_comes_back_from_its_tokens_up_to_normalisation(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    assert tokenizer.unk_token_id not in ids


def test_the_template_marks_every_turn_with_its_role(tokenizer):
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    turns = [turn.split("\n", 1) for turn in text.split("<|im_start|>")[1:]]
    assert [role for role, _ in turns] == [message["role"] for message in MESSAGES]
    assert [rest.removesuffix("<|im_end|>\n") for _, rest in turns] == [message["content"] for message in MESSAGES]


def test_the_template_opens_the_reply_and_the_thinking_only_when_asked(tokenizer):
    def render(**options):
        return tokenizer.apply_chat_template(MESSAGES, tokenize=False, **options)

    closed, opened = render(), render(add_generation_prompt=True)
    assert opened == closed + "<|im_start|>assistant\n"
    assert render(add_generation_prompt=True, enable_thinking=True) == opened + "<think>\n"
    assert render(add_generation_prompt=True, enable_thinking=False) == opened
    assert render(enable_thinking=True) == closed


def test_thinking_marks_are_single_tokens_that_decoding_shows(tokenizer):
    ids = tokenizer("<think>so</think>").input_ids
    assert tokenizer.convert_tokens_to_ids("<think>") == ids[0]
    assert tokenizer.convert_tokens_to_ids("</think>") == ids[-1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>so</think>"


def test_model_and_tokenizer_agree_on_sizes_and_on_the_end_of_a_turn(tokenizer, model):
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token == "<|im_end|>"
    assert 500_000 < model.num_parameters() < 2_000_000


def test_replies_depend_on_the_prompt_and_do_not_stop_at_once(tokenizer, model):
    replies = set()
    for number in range(8):
        messages = [{"role": "user", "content": f"Write review number {number}."}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        output = model.generate(**prompt, do_sample=False, max_new_tokens=16)
        replies.add(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    assert len(replies) > 4
    assert sum(bool(reply) for reply in replies) > 4


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(folder, tmp_path):
    again = contents(build_tiny_model(tmp_path / "again"))
    other = contents(build_tiny_model(tmp_path / "other", seed=1))
    assert again == contents(folder)
    assert other["model.safetensors"] != again["model.safetensors"]


def test_a_model_that_is_there_is_not_built_again(folder, monkeypatch):
    monkeypatch.setattr(tiny_model, "_train_tokenizer", lambda seed: pytest.fail("built again"))
    assert build_tiny_model(folder) == folder


def test_a_model_of_another_seed_is_replaced(tmp_path):
    target = tmp_path / "model"
    before = contents(build_tiny_model(target, seed=1))
    after = contents(build_tiny_model(target, seed=2))
    assert before["model.safetensors"] != after["model.safetensors"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_build_leaves_nothing_and_the_next_one_succeeds(tmp_path, monkeypatch):
    def interrupt(folder, seed):
        raise KeyboardInterrupt

    target = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(tiny_model, "_write_weights", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_tiny_model(target)
    assert list(tmp_path.iterdir()) == []
    assert (build_tiny_model(target) / "model.safetensors").exists()


def test_a_build_that_another_process_finished_first_is_taken_as_it_is(folder, tmp_path, monkeypatch):
    target = tmp_path / "model"
    write_weights = tiny_model._write_weights

    def be_overtaken(built, seed):
        monkeypatch.setattr(tiny_model, "_write_weights", write_weights)
        build_tiny_model(target, seed)
        write_weights(built, seed)

    monkeypatch.setattr(tiny_model, "_write_weights", be_overtaken)
    build_tiny_model(target)
    assert contents(target) == contents(folder)
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="no tiny model"):
        build_tiny_model(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_importing_the_module_does_not_import_torch():
    code = "import sys, drp_ray.data.tiny_model; sys.exit(not {'torch', 'transformers'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
