"""The network that is trained is the one that transformers loads, and trees count as their conversations one by one."""

from random import Random

import pytest
import torch
from torch.nn import functional

from drp_ray.inputs.packaged_model import locate_language_model
from training.decoder import Decoder, Shape
from training.examples import Exchange, World, changed_example, comparison_example, history_example, strangers_example
from training.export import export
from training.gpu import Gpu
from training.tokenizer import encode, fixed_passages, load_tokenizer, without_phrases
from training.train import TOKENIZER, Run
from training.trees import BEGINNING_WEIGHT, grow, in_a_row, sight
from training.workers import Grower, Workers, add_up
from training.worlds import training_words

WORLD = World(training_words())
SMALL = Shape(width=32, layers=2, heads=2, inner=48)


@pytest.fixture(scope="module")
def tokenizer():
    """The writer's own, as it is shipped."""
    return load_tokenizer(locate_language_model("package:drp_ray", "models"))


@pytest.fixture
def decoder():
    """A small network none of whose weights is zero."""
    torch.manual_seed(0)
    decoder = Decoder(SMALL)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder


def losses(decoder, tree) -> torch.Tensor:
    with torch.no_grad():
        return decoder.loss(decoder(tree.tokens, tree.positions, [sight(tree.branches)])[tree.sources], tree.targets)


@pytest.mark.parametrize("make", [comparison_example, history_example, changed_example, strangers_example])
def test_a_tree_teaches_what_its_conversations_teach_one_by_one(tokenizer, decoder, make):
    exchanges = make(WORLD, Random(2))
    tree = grow(tokenizer, exchanges)
    alone = [grow(tokenizer, [exchange]) for exchange in exchanges]
    together = sum(float(losses(decoder, each)[each.weights >= 1].sum()) for each in alone)
    assert float(losses(decoder, tree)[tree.weights >= 1].sum()) == pytest.approx(together, rel=1e-4)
    assert len(tree.tokens) < sum(len(each.tokens) for each in alone)


def test_what_begins_a_sentence_of_a_review_counts_more_than_what_ends_it(tokenizer):
    review = Exchange("write", history_example(WORLD, Random(1))[-1].prompt, "[Review]: It exists. I am sold! bye")
    tree = grow(tokenizer, [review])
    heavy = [tokenizer.decode([t]) for t, w in zip(tree.targets, tree.weights, strict=True) if w == BEGINNING_WEIGHT]
    assert [text.strip()[:1] for text in heavy] == ["I", "I", "b"]


def test_trees_side_by_side_do_not_see_each_other(tokenizer, decoder):
    trees = [grow(tokenizer, make(WORLD, Random(4))) for make in (comparison_example, strangers_example)]
    row = in_a_row(trees)
    with torch.no_grad():
        hidden = decoder(row.tokens, row.positions, [sight(tree.branches) for tree in trees])
        found = decoder.loss(hidden[row.sources], row.targets)
    assert torch.allclose(found, torch.cat([losses(decoder, tree) for tree in trees]), atol=1e-4)


def test_transformers_computes_the_same_from_the_exported_folder(tokenizer, decoder, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer.save_pretrained(str(tmp_path / TOKENIZER))
    run = Run(tmp_path, decoder)
    run.save()
    export(tmp_path, tmp_path / "exported")
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "exported"), dtype=torch.float32)
    tokens, _ = encode(
        AutoTokenizer.from_pretrained(str(tmp_path / "exported")), comparison_example(WORLD, Random(6))[0]
    )
    assert tokens == encode(tokenizer, comparison_example(WORLD, Random(6))[0])[0]
    rounded = Decoder(SMALL)
    rounded.load_state_dict({name: tensor.bfloat16().float() for name, tensor in decoder.state_dict().items()})
    n = len(tokens)
    seen = torch.ones(n, n, dtype=torch.bool).tril()
    with torch.no_grad():
        theirs = model(torch.tensor([tokens])).logits[0]
        ours = rounded(torch.tensor(tokens), torch.arange(n), [seen]) @ rounded.model.embed_tokens.weight.T
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_training_that_was_stopped_goes_on_as_if_it_had_not_been(tokenizer, tmp_path):
    tokenizer.save_pretrained(str(tmp_path / TOKENIZER))

    def trained(folder, stops: tuple[int, ...]) -> dict:
        folder.mkdir()
        for n_steps in stops:
            torch.manual_seed(1)
            run = Run(folder, Decoder(SMALL))
            with Workers(run.decoder, tmp_path / TOKENIZER, 3, 4, 1) as workers:
                while run.step < n_steps:
                    run.take_step(workers, 1.0)
            run.save()
        return run.decoder.state_dict()

    whole, in_two = trained(tmp_path / "one", (2,)), trained(tmp_path / "two", (1, 2))
    assert all(torch.equal(whole[name], in_two[name]) for name in whole)


def test_a_gpu_adds_up_what_workers_add_up(tokenizer, decoder, tmp_path):
    """Padding, grouping by length and working on a group at once change no gradient but by rounding."""
    tokenizer.save_pretrained(str(tmp_path))
    grower = Grower(tmp_path, seed=3)
    trees = [grower.tree(number) for number in range(4, 8)]
    wanted = [torch.zeros_like(parameter) for parameter in decoder.parameters()]
    sums = add_up(trees, decoder, wanted)
    with Gpu(decoder, tmp_path, seed=3, trees_per_step=4, n_processes=0) as gpu:
        found = gpu.sums(step=1)
        assert found.tokens == sums.tokens and found.weight == pytest.approx(sums.weight)
        assert found.loss == pytest.approx(sums.loss, rel=1e-2)
        for mine, theirs in zip(gpu.gradients[0], wanted, strict=True):
            assert functional.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0) > 0.99


def test_every_reply_and_prompt_is_decoded_as_it_was_encoded(tokenizer):
    for each in (tokenizer, without_phrases(tokenizer, WORLD)):
        for exchange in [*comparison_example(WORLD, Random(8)), *history_example(WORLD, Random(8))]:
            tokens, reply_at = encode(each, exchange)
            assert each.decode(tokens[reply_at:]) == f"{exchange.reply}<|im_end|>"
            assert exchange.prompt.messages()[1]["content"] in each.decode(tokens[:reply_at])


def test_the_instructions_of_the_prompt_pack_are_single_tokens(tokenizer):
    """A changed template needs a new writer: this fails where the pack's text is not the one it was trained on."""
    for passage in fixed_passages():
        assert len(tokenizer.encode(passage, add_special_tokens=False)) == 1, passage
