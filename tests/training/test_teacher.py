"""What the writer is taught is true, is what the package reads, and can be read in the generator's own texts."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.data.sample import draw_item, draw_review, draw_style
from drp_ray.data.sample_words import EMBEDDED
from drp_ray.llm.replies import parse_features, says_none, split_marker
from training.examples import (
    World,
    changed_example,
    comparison_example,
    example,
    history_example,
    possible_values,
)
from training.reading import named_in, read_traits
from training.swapped import swapped
from training.teacher import confirmed, difference_blocks, noted_differences, profile_summary, recurring_traits
from training.traits import DEFINITIONS, differing, traits_of
from training.worlds import held_back_words, training_words

WORLD = World(training_words())
seeds = st.integers(0, 2**32)


def read(text: str) -> dict[str, str]:
    return {feature["name"]: feature["description"] for feature in parse_features(text)}


def users(seed: int, n: int) -> list:
    rng = Random(seed)
    return [traits_of(draw_style(WORLD.words, rng)) for _ in range(n)]


@given(seed=seeds, n=st.integers(1, 4))
def test_the_package_reads_of_a_reply_what_the_teacher_meant(seed, n):
    user, *others = users(seed, n + 1)
    true = differing(user, others)
    text = difference_blocks(true)
    assert read(text) == true
    assert says_none(text) == (not true)


@given(seed=seeds, n=st.integers(1, 4))
def test_a_difference_is_shared_by_no_other_and_every_such_one_is_named(seed, n):
    user, *others = users(seed, n + 1)
    true = differing(user, others)
    for name, value in user.items():
        assert (name in true) == (value not in [other[name] for other in others])


@given(seed=seeds)
def test_validation_keeps_what_is_true_of_what_was_noted_and_nothing_else(seed):
    user, *others = users(seed, 3)
    true = differing(user, others)
    noted = noted_differences(true, user, possible_values(WORLD.words, user), Random(seed))
    kept = confirmed(noted, true)
    assert kept.items() == noted.items() & true.items()


@given(seed=seeds)
def test_a_summary_names_every_trait_once_and_first_what_recurs(seed):
    user, *others = users(seed, 4)
    found = [differing(user, [other]) for other in others]
    marker, text = split_marker(profile_summary(user, found), "Summary")
    assert marker == ""
    assert all(text.count(f" {name}: ") == 1 for name in DEFINITIONS)
    recurring, _, rest = text.partition("What else there is.")
    if recurring:
        assert all((f"{name}: " in recurring) == (name in recurring_traits(found)) for name in DEFINITIONS)
    assert rest or len(recurring_traits(found)) == len(DEFINITIONS)


def test_of_several_values_the_most_frequent_recurs_and_of_equally_many_the_first():
    found = [{"Tone": "a"}, {"Tone": "b"}, {"Tone": "b", "Length": "c"}, {"Length": "d"}]
    assert recurring_traits(found) == {"Tone": "b", "Length": "c"}


@pytest.mark.parametrize("words", [training_words(), EMBEDDED])
def test_the_rules_read_of_generated_reviews_what_the_generator_meant(words):
    rng = Random(3)
    wrong = 0
    for _ in range(300):
        style = draw_style(words, rng)
        review = draw_review(draw_item(rng.choice(words.kinds), "item", rng), style, 0, rng)
        wrong += sum(read_traits(review["text"])[name] != value for name, value in traits_of(style).items())
    assert wrong <= 0.01 * 300 * len(DEFINITIONS)


def test_beside_the_same_past_reviews_every_profile_is_true_of_the_review_to_be_written():
    """So that nothing but the profile can tell how it is written."""
    right = wrong = 0
    for number in range(60):
        exchanges = changed_example(WORLD, Random(number))
        assert len({str(exchange.prompt.variables["history"]) for exchange in exchanges}) == 1
        for exchange in exchanges:
            named = named_in(exchange.prompt.variables["summary"])
            shown = read_traits(exchange.reply.removeprefix("[Review]: "))
            assert named.keys() == DEFINITIONS.keys()
            right += len(named.items() & shown.items())
            wrong += len(named.items() - shown.items())
    assert wrong <= 0.01 * right


def test_swapped_profiles_change_nothing_else():
    exchanges = changed_example(WORLD, Random(5))
    others = swapped(exchanges)
    assert sorted(each.prompt.variables["summary"] for each in others) == sorted(
        each.prompt.variables["summary"] for each in exchanges
    )
    for one, other in zip(exchanges, others, strict=True):
        assert one.reply == other.reply
        assert one.prompt.variables["summary"] != other.prompt.variables["summary"]
        own = one.prompt.messages()[1]["content"].replace(one.prompt.variables["summary"], "")
        assert own == other.prompt.messages()[1]["content"].replace(other.prompt.variables["summary"], "")


def test_everyone_in_a_comparison_is_described_truly():
    for number in range(20):
        found, *others = comparison_example(WORLD, Random(number))
        reviews = found.prompt.variables["review"], *found.prompt.variables["representatives"]
        described = [named_in(exchange.reply) for exchange in others if exchange.job == "describe"]
        assert len(described) == len(reviews)
        for traits, review in zip(described, reviews, strict=True):
            assert len(traits.items() & read_traits(review["text"]).items()) >= len(traits) - 1


@pytest.mark.parametrize("make", [comparison_example, history_example, changed_example])
def test_an_example_depends_on_its_number_and_seed_alone(make):
    def texts(seed: int) -> list:
        return [(each.job, each.prompt.messages(), each.reply) for each in make(WORLD, Random(seed))]

    assert texts(4) == texts(4) != texts(5)


def test_no_prompt_says_more_than_the_reply_may_know():
    """The reviews that are to be written are in no prompt of their example."""
    for number in range(40):
        exchanges = example(number, 9, WORLD)
        for exchange in exchanges:
            if exchange.job.startswith("write"):
                body = exchange.reply.removeprefix("[Review]: ")
                assert all(body not in other.prompt.messages()[1]["content"] for other in exchanges)


def test_held_back_words_are_in_no_training_text():
    known, held_back = training_words(), held_back_words()
    for name in ("places", "times", "companions", "asides", "sign_offs"):
        assert getattr(held_back, name) and not set(getattr(held_back, name)) & set(getattr(known, name))
    for one, other in zip(known.kinds, held_back.kinds, strict=True):
        assert other.aspects[0].good and not set(one.aspects[0].good) & set(other.aspects[0].good)
        assert any(set(one.slots[name]).isdisjoint(other.slots[name]) for name in one.slots)
