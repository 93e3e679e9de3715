"""Who represents the other reviewers of an item: against plain computations with scikit-learn and NumPy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from drp_ray.config import Selection
from drp_ray.stages.strategies.base import STRATEGIES
from drp_ray.stages.strategies.kmeans import cluster

FEW = Selection(k=2, n_init=3)


def reviews_of(texts):
    return [{"user_id": f"u{number:03d}", "text_id": text} for number, text in enumerate(texts)]


def item(texts, vector_of):
    """Reviews by one user each, with these texts, and the vectors of the texts."""
    return reviews_of(texts), {text: np.array(vector_of(text), np.float32) for text in set(texts)}


def random_item(n_reviews, n_texts, seed=0, width=5):
    rng = np.random.default_rng(seed)
    vectors = {f"t{number}": rng.normal(size=width).astype(np.float32) for number in range(n_texts)}
    texts = [f"t{number % n_texts}" for number in range(n_reviews)]
    rng.shuffle(texts)
    return reviews_of(texts), vectors


def first_of_other_texts(reviews, own):
    texts = [review["text_id"] for review in reviews]
    return [at for at, text in enumerate(texts) if text != own["text_id"] and texts.index(text) == at]


def choose(strategy, found, settings, position, item_id="item"):
    return STRATEGIES[strategy](item_id, *found, settings)(position)


ITEMS = st.builds(
    random_item, st.integers(1, 14), st.integers(1, 8), seed=st.integers(0, 99), width=st.integers(1, 4)
).filter(lambda found: len(found[0]))
SETTINGS = st.builds(Selection, k=st.integers(1, 5), n_init=st.just(2), seed=st.integers(0, 9))


def expected_groups(reviews, vectors, settings):
    """docs/method.md, read word by word: points in user order, each text once and each lighter by 1e-9 than the one
    before; K+1 groups; the member nearest to the centre, ties by user_id."""
    texts = list(dict.fromkeys(review["text_id"] for review in reviews))
    points = np.array([vectors[text] for text in texts], np.float64)
    groups = min(settings.k + 1, len({tuple(point) for point in points.tolist()}))
    weights = [1 - 1e-9 * number for number in range(len(points))]
    model = KMeans(n_clusters=groups, random_state=settings.seed, n_init=settings.n_init)
    model.fit(points, sample_weight=weights)
    group_of_text = dict(zip(texts, model.labels_.tolist(), strict=True))
    nearest = {}
    for group in range(groups):
        members = [review for review in reviews if group_of_text[review["text_id"]] == group]
        distance = {
            member["user_id"]: float(np.linalg.norm(vectors[member["text_id"]] - model.cluster_centers_[group]))
            for member in members
        }
        nearest[group] = min(user_id for user_id in distance if distance[user_id] <= min(distance.values()) + 1e-6)
    return [group_of_text[review["text_id"]] for review in reviews], nearest


def with_noise(found, size, seed):
    """The same item as another batch would embed it, and with other lengths of vectors."""
    rng, (reviews, vectors) = np.random.default_rng(seed), found
    noisy = {text: vector + rng.uniform(-size, size, len(vector)) for text, vector in vectors.items()}
    return reviews, {text: np.asarray(vector, np.float32) for text, vector in noisy.items()}


def normalised(found):
    reviews, vectors = found
    return reviews, {text: vector / np.linalg.norm(vector) for text, vector in vectors.items()}


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@settings(max_examples=40)
@given(found=ITEMS, chosen=SETTINGS, size=st.sampled_from([5e-8, 1e-7]), seed=st.integers(0, 99))
def test_rounding_noise_changes_no_choice(strategy, found, chosen, size, seed):
    found = normalised(found)
    noisy = with_noise(found, size, seed)
    for position in range(len(found[0])):
        assert choose(strategy, noisy, chosen, position) == choose(strategy, found, chosen, position)


@pytest.mark.parametrize(("strategy", "chosen"), [("kmeans", [1]), ("simrank", [1, 2])])
@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_rounding_noise_decides_no_tie(strategy, chosen, seed):
    """Three texts, equally far from each other, from their centre and from the user's own: the first ones are taken."""
    corners = np.eye(4)[1:] + np.eye(4)[0]
    places = {"own": [-1, 0, 0, 0], **dict(zip("abc", corners.tolist(), strict=True))}
    found = with_noise(normalised(item(["own", "a", "b", "c"], places.get)), 1e-7, seed)
    picked = choose(strategy, found, Selection(k=len(chosen), n_init=2), 0)
    assert [one.position for one in picked.representatives] == chosen


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@settings(max_examples=25)
@given(found=ITEMS, chosen=SETTINGS)
def test_no_text_stands_twice_among_the_representatives_nor_the_users_own(strategy, found, chosen):
    reviews, _ = found
    for position in range(len(reviews)):
        picked = [one.position for one in choose(strategy, found, chosen, position).representatives]
        texts = [reviews[one]["text_id"] for one in picked]
        assert len(set(texts)) == len(texts) and reviews[position]["text_id"] not in texts
        assert all(
            one == min(n for n, other in enumerate(reviews) if other["text_id"] == reviews[one]["text_id"])
            for one in picked
        ), "the first reviewer stands for a text"


class TestKmeans:
    @settings(max_examples=25)
    @given(ITEMS, SETTINGS)
    def test_groups_and_representatives_are_those_of_a_plain_computation(self, found, settings):
        reviews, vectors = found
        groups = cluster(reviews, vectors, settings)
        cluster_of, nearest = expected_groups(reviews, vectors, settings)
        assert groups.cluster_of == cluster_of
        assert {one.cluster: reviews[one.position]["user_id"] for one in groups.representatives} == nearest

    def test_unlike_texts_with_vectors_that_differ_by_rounding_are_one_point(self):
        places = {"a": [1.0, 0.0], "b": [1.0, 1e-8], "c": [1.0, -1e-8], "d": [0.0, 1.0]}
        groups = cluster(*item(["a", "b", "c", "d"], places.get), Selection())
        assert groups.cluster_of[0] == groups.cluster_of[1] == groups.cluster_of[2] != groups.cluster_of[3]
        assert sorted(one.position for one in groups.representatives) == [0, 3]

    @settings(max_examples=25)
    @given(ITEMS, SETTINGS)
    def test_a_user_is_compared_with_all_groups_but_their_own_in_order(self, found, settings):
        reviews, vectors = found
        groups = cluster(reviews, vectors, settings)
        choose_for = STRATEGIES["kmeans"]("item", reviews, vectors, settings)
        for position in range(len(reviews)):
            chosen = choose_for(position)
            assert chosen.cluster == groups.cluster_of[position]
            others = [one.cluster for one in chosen.representatives]
            assert others == sorted({*groups.cluster_of} - {chosen.cluster})
            assert all(groups.cluster_of[one.position] == one.cluster for one in chosen.representatives)
            own_text = reviews[position]["text_id"]
            assert own_text not in {reviews[one.position]["text_id"] for one in chosen.representatives}

    def test_enough_distinct_texts_give_k_representatives(self):
        found = random_item(30, 30)
        assert len(choose("kmeans", found, Selection(), 0).representatives) == 4

    def test_the_representative_is_the_member_nearest_to_the_centre(self):
        places = {"a": [0.0], "b": [1.0], "c": [2.5], "far": [100.0]}
        found = item(["c", "b", "a", "far"], places.get)
        groups = cluster(*found, Selection(k=1))
        assert {found[0][one.position]["text_id"] for one in groups.representatives} == {"b", "far"}

    def test_of_equally_near_members_the_first_user_represents(self):
        places = {"left": [-1.0], "right": [1.0], "far": [100.0]}
        for texts in (["left", "right", "far"], ["right", "left", "far"]):
            groups = cluster(*item(texts, places.get), Selection(k=1))
            assert sorted(one.position for one in groups.representatives) == [0, 2]

    def test_a_text_that_many_share_is_one_point_and_its_first_user_stands_for_it(self):
        places = {"a": [0.0], "b": [1.0], "c": [3.0], "far": [100.0]}
        once = item(["a", "b", "c", "far"], places.get)
        often = item(["a", "b", "c", "far", *["c"] * 20], places.get)
        for found in (once, often):
            groups = cluster(*found, Selection(k=1))
            assert sorted(one.position for one in groups.representatives) == [1, 3]
        assert len(set(groups.cluster_of[4:])) == 1

    @pytest.mark.parametrize("n_texts", [1, 2, 3])
    def test_fewer_texts_than_groups_give_a_group_a_text(self, n_texts):
        found = random_item(9, n_texts)
        groups = cluster(*found, Selection())
        assert len(groups.representatives) == len(set(groups.cluster_of)) == n_texts
        for position in range(9):
            assert len(choose("kmeans", found, Selection(), position).representatives) == n_texts - 1

    def test_equal_vectors_of_unlike_texts_are_one_group(self):
        found = item(["a", "b", "c", "d"], lambda text: [0.0, 0.0] if text != "d" else [1.0, 0.0])
        groups = cluster(*found, Selection())
        assert groups.cluster_of[0] == groups.cluster_of[1] == groups.cluster_of[2] != groups.cluster_of[3]
        assert sorted(one.position for one in groups.representatives) == [0, 3]

    def test_a_single_reviewer_is_compared_with_nobody(self):
        assert choose("kmeans", item(["a"], lambda _: [1.0]), Selection(), 0).representatives == []

    def test_the_same_reviews_give_the_same_groups_again(self):
        found = random_item(60, 60)
        assert cluster(*found, FEW) == cluster(*found, FEW)

    def test_seeds_lead_to_other_local_minima(self):
        found = random_item(60, 60, width=2)
        assert len({str(cluster(*found, Selection(n_init=1, seed=seed))) for seed in range(5)}) > 1

    def test_more_starts_find_tighter_groups(self):
        reviews, vectors = random_item(60, 60, width=2)
        points = np.array([vectors[review["text_id"]] for review in reviews])

        def spread(settings):
            labels = np.array(cluster(reviews, vectors, settings).cluster_of)
            return sum(
                float(((points[labels == label] - points[labels == label].mean(axis=0)) ** 2).sum())
                for label in set(labels.tolist())
            )

        one, many = ([spread(Selection(n_init=n_init, seed=seed)) for seed in range(8)] for n_init in (1, 20))
        assert sum(many) < sum(one)


class TestRandom:
    @given(ITEMS, SETTINGS)
    def test_k_others_or_fewer_are_drawn_and_never_the_users_own_text(self, found, settings):
        reviews, _ = found
        for position, own in enumerate(reviews):
            chosen = choose("random", found, settings, position)
            drawn = [one.position for one in chosen.representatives]
            others = first_of_other_texts(reviews, own)
            assert len(drawn) == len(set(drawn)) == min(settings.k, len(others))
            assert set(drawn) <= set(others)
            assert {one.cluster for one in chosen.representatives} <= {-1}
            assert chosen.cluster == -1

    def test_the_draw_is_that_of_the_seed_the_user_and_the_item(self):
        found = random_item(40, 40)
        draw = choose("random", found, Selection(), 3)
        assert choose("random", found, Selection(), 3) == draw
        assert choose("random", found, Selection(seed=1), 3) != draw
        assert choose("random", found, Selection(), 3, item_id="another") != draw
        assert {str(choose("random", found, Selection(), position)) for position in range(40)} != {str(draw)}

    def test_everybody_else_is_drawn_sooner_or_later(self):
        found = random_item(6, 6)
        seen = {
            one.position
            for seed in range(50)
            for one in choose("random", found, Selection(k=2, seed=seed), 2).representatives
        }
        assert seen == {0, 1, 3, 4, 5}

    def test_no_vectors_are_needed(self):
        assert STRATEGIES["random"]("item", reviews_of("abc"), {}, FEW)(0).representatives


class TestSimrank:
    @given(ITEMS, SETTINGS)
    def test_the_k_least_similar_come_first(self, found, settings):
        reviews, vectors = found

        def cosine(one, other):
            left, right = (vectors[review["text_id"]].astype(np.float64) for review in (one, other))
            return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))

        for position, own in enumerate(reviews):
            others = first_of_other_texts(reviews, own)
            similarity = {at: cosine(own, reviews[at]) for at in others}
            gaps = np.diff(sorted({cosine(own, other) for other in reviews}))
            assume(not len(gaps) or gaps.min() > 1e-4 or np.all((gaps < 1e-12) | (gaps > 1e-4)))
            wanted = sorted(others, key=lambda at: (round(similarity[at], 12), at))[: settings.k]
            chosen = choose("simrank", found, settings, position)
            assert [one.position for one in chosen.representatives] == wanted

    def test_ties_go_to_the_first_user(self):
        found = item(["own", "b", "a"], lambda text: [1.0, 0.0] if text == "own" else [0.0, 1.0])
        assert [one.position for one in choose("simrank", found, FEW, 0).representatives] == [1, 2]

    def test_length_does_not_matter(self):
        places = {"own": [1.0, 0.0], "long": [50.0, 50.0], "opposite": [-0.1, 0.0]}
        found = item(["own", "long", "opposite"], places.get)
        assert [one.position for one in choose("simrank", found, Selection(k=1), 0).representatives] == [2]

    def test_a_vector_of_zeros_does_no_harm(self):
        found = item(["own", "zero", "near"], lambda text: [0.0, 0.0] if text == "zero" else [1.0, 1.0])
        assert [one.position for one in choose("simrank", found, FEW, 0).representatives] == [1, 2]


def test_every_strategy_that_the_configuration_names_exists():
    for name in (Selection().strategy, "random", "simrank"):
        assert STRATEGIES[name]
