import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from strategies import channels, dyadic, grid_points

from core import SELECTORS, ExactSelection, Moments, UniversalSet, select_points
from core.points._selection_kernels import lloyd
from core.points.selection import MAX_COMBINATIONS, prepare

GRID = np.arange(-8, 9) / 8


def squared_error(data, points):
    """By plain assignment of every value to its nearest point."""
    return np.array([((x[:, None] - p) ** 2).min(1).sum() for x, p in zip(data, points, strict=True)])


def moments_of(data, step=1 / 8):
    return Moments(len(data), step).update(data, 0)


def prefix_sums(values):
    terms = np.stack([np.ones_like(values), values, values**2], axis=1)
    return np.concatenate([np.zeros((1, 3)), terms.cumsum(0)])


@pytest.mark.parametrize("selector", ["exact", "exhaustive"])
@pytest.mark.parametrize("wrap", [np.array, moments_of])
def test_two_points_by_hand(selector, wrap):
    # One value 0.9 and three of -0.4: of -1, -0.5, 0, 0.5, 1 the pair (-0.5, 1) costs 3 * 0.01 + 0.01.
    data = np.array([[-0.4, -0.4, 0.9, -0.4]])
    chosen = select_points(wrap(data), np.linspace(-1, 1, 5), 2, selector=selector)
    assert chosen.tolist() == [[-0.5, 1]]
    assert moments_of(data).sse(chosen) == pytest.approx([0.04])


def test_greedy_is_stuck_where_exact_is_not():
    # The best single point is 0; the best pair leaves it.
    data, candidates = np.array([[-0.5] * 3 + [0.5] * 3 + [0.0]]), [-0.5, 0, 0.5]
    assert select_points(data, candidates, 2, selector="greedy").tolist() == [[-0.5, 0]]
    assert select_points(data, candidates, 2, selector="exact").tolist() == [[-0.5, 0.5]]


@given(channels(), grid_points(8, min_size=1, max_size=8), st.data())
def test_exact_equals_every_combination_tried(data, candidates, draw):
    k = draw.draw(st.integers(1, len(candidates)))
    best = [
        min(squared_error([x], [np.array(c)])[0] for c in itertools.combinations(candidates, k)) for x in data
    ]
    for wrapped in (data, moments_of(data)):
        assert squared_error(data, select_points(wrapped, candidates, k)) == pytest.approx(best, abs=1e-9)


@given(channels(dyadic), grid_points(8, min_size=1, max_size=9), st.data())
def test_exact_equals_exhaustive_ties_included(data, candidates, draw):
    k = draw.draw(st.integers(1, len(candidates)))
    for wrapped in (data, moments_of(data)):
        exact = select_points(wrapped, candidates, k)
        assert (exact == select_points(wrapped, candidates, k, selector="exhaustive")).all()


@given(channels(dyadic, max_channels=1), grid_points(8, min_size=2, max_size=9))
def test_greedy_equals_adding_the_best_candidate(data, candidates):
    chosen = []
    for k in range(1, len(candidates) + 1):
        rest = [c for c in candidates if c not in chosen]
        errors = [squared_error(data, [np.array([*chosen, c])])[0] for c in rest]
        chosen.append(rest[int(np.argmin(errors))])
        for wrapped in (data, moments_of(data)):
            found = select_points(wrapped, candidates, k, selector="greedy")
            assert found.tolist() == [sorted(chosen)]


def test_ties_go_to_the_lower_value():
    for selector in ("exact", "exhaustive", "greedy"):
        assert select_points(np.zeros((1, 1)), [-0.5, 0.5], 1, selector=selector).tolist() == [[-0.5]]


@pytest.mark.parametrize("selector", ["exact", "greedy"])
@pytest.mark.parametrize("universal_set", [UniversalSet(), UniversalSet(3, 4), UniversalSet(5, 4)])
def test_moments_give_the_result_of_raw_data(selector, universal_set):
    data = np.random.default_rng(0).laplace(0, 0.2, (3, 3000)).clip(-1, 1)
    moments = Moments(3, universal_set.step).update(data, 0)
    for k in (3, 16):
        raw = select_points(data, universal_set.points, k, selector=selector)
        assert (select_points(moments, universal_set.points, k, selector=selector) == raw).all()


def test_exact_is_never_above_the_others():
    data = np.random.default_rng(1).normal(0, 0.25, (8, 2000)).clip(-1, 1)
    moments = Moments(8, UniversalSet().step).update(data, 0)
    for k in (2, 4, 16, 64):
        errors = {s: moments.sse(select_points(moments, UniversalSet().points, k, selector=s))
                  for s in ("exact", "kmeans", "greedy")}  # fmt: skip
        assert (errors["exact"] <= errors["kmeans"] + 1e-9).all()
        assert (errors["exact"] <= errors["greedy"] + 1e-9).all()
        assert (errors["exact"] < errors["kmeans"]).any()


@pytest.mark.parametrize("selector", ["exact", "greedy"])
def test_error_never_rises_with_more_points(selector):
    moments = moments_of(np.random.default_rng(2).uniform(-1, 1, (4, 500)))
    errors = np.array([moments.sse(select_points(moments, GRID, k, selector=selector)) for k in range(1, 18)])
    assert (np.diff(errors, axis=0) <= 1e-9).all()
    assert errors[-1] == pytest.approx(moments.sse(GRID))


def test_one_run_holds_every_smaller_number():
    moments = moments_of(np.random.default_rng(3).normal(0, 0.3, (3, 400)).clip(-1, 1))
    largest = ExactSelection(prepare(moments, GRID, 17), 17)
    for k in range(1, 18):
        own = select_points(moments, GRID, k)
        assert (largest.points(k) == own).all()
        assert largest.sse(k) == pytest.approx(moments.sse(own), abs=1e-9)
    for k in (0, 18):
        with pytest.raises(ValueError, match="n_points must be from 1 to 17"):
            largest.points(k)


def test_all_candidates_are_chosen_when_asked_for():
    for selector in ("exact", "greedy", "exhaustive"):
        chosen = select_points(np.array([[0.3, 0.4]]), GRID, len(GRID), selector=selector)
        assert (chosen == GRID).all()


@pytest.mark.parametrize("k", [2, 3, 8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_lloyd_equals_scikit_learn(k, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.laplace(0, 0.2, 300))
    init = rng.choice(values, k, replace=False)
    centres = init.copy()
    lloyd(prefix_sums(values), values, centres, -1, 300, 0.0, np.empty(0))
    oracle = KMeans(k, init=init[:, None], n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(
        values[:, None]
    )
    assert centres == pytest.approx(np.sort(oracle.cluster_centers_[:, 0]), abs=1e-9)
    assert squared_error([values], [centres])[0] == pytest.approx(oracle.inertia_)


def test_lloyd_keeps_the_pinned_centre():
    values = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 1.0])
    centres = np.array([0.0, 0.5])
    lloyd(prefix_sums(values), values, centres, 0, 300, 0.0, np.empty(0))
    assert centres == pytest.approx([0, 0.9])  # 0.1, 0.2, 0.3 belong to 0, which stays
    lloyd(prefix_sums(values), values, centres, -1, 300, 0.0, np.empty(0))
    assert centres == pytest.approx([0.2, 0.9])


def test_kmeans_holds_zero_and_points_of_the_set():
    data = np.random.default_rng(4).uniform(0.2, 1, (3, 200))
    chosen = select_points(data, UniversalSet().points, 8, selector="kmeans")
    assert np.isin(chosen, UniversalSet().points).all()
    assert (chosen == 0).any(1).all()


def test_kmeans_from_moments_is_near_raw_data():
    data = np.random.default_rng(5).normal(0, 0.3, (4, 3000)).clip(-1, 1)
    moments = Moments(4, UniversalSet().step).update(data, 0)
    errors = [
        moments.sse(select_points(d, UniversalSet().points, 8, selector="kmeans")) for d in (data, moments)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_kmeans_seed():
    data = np.random.default_rng(6).normal(0, 0.3, (6, 300)).clip(-1, 1)
    chosen = [select_points(data, UniversalSet().points, 16, selector="kmeans", seed=s) for s in (0, 0, 1)]
    assert (chosen[0] == chosen[1]).all()
    assert (chosen[0] != chosen[2]).any()


def test_kmeans_points_may_repeat():
    assert select_points(np.full((1, 9), 0.5), GRID, 4, selector="kmeans").tolist() == [[0, 0.5, 0.5, 0.5]]


@pytest.mark.parametrize("selector", SELECTORS)
def test_constant_channels(selector):
    data = np.array([[0.3] * 5, [0.0] * 5])
    chosen = select_points(data, GRID, 3, selector=selector)
    expected = [5 * (0.3 - 0.25) ** 2, 0]
    assert squared_error(data, chosen) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("selector", ["exact", "greedy", "exhaustive"])
def test_a_channel_without_data_gets_the_lowest_candidates(selector):
    assert select_points(Moments(1, 1 / 8), GRID, 3, selector=selector).tolist() == [[-1, -0.875, -0.75]]


@pytest.mark.parametrize("selector", SELECTORS)
def test_result_is_sorted_float64_for_any_input(selector):
    data = torch.rand(2, 50)
    chosen = select_points(data, GRID[::-1], 3, selector=selector)
    assert chosen.dtype == np.float64
    assert chosen.shape == (2, 3)
    assert (np.diff(chosen) >= 0).all()
    assert (chosen == select_points(data.double().numpy(), GRID, 3, selector=selector)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="data must be finite"):
        select_points(np.array([[0.0, bad]]), GRID, 2)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3), (0, 4), (2, 0)])
def test_data_of_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"data must be \(C, n\)"):
        select_points(np.zeros(shape), GRID, 2)


@pytest.mark.parametrize("candidates", [np.zeros((2, 2)), np.array([0, np.nan]), np.array([0, np.inf])])
def test_wrong_candidates(candidates):
    with pytest.raises(ValueError, match="candidates must be 1-D and finite"):
        select_points(np.zeros((1, 3)), candidates, 1)


def test_candidates_off_the_grid_of_the_moments():
    with pytest.raises(ValueError, match=r"points must be multiples of 0.125"):
        select_points(moments_of(np.zeros((1, 3))), [0, 0.3], 1)


def test_more_points_than_candidates():
    with pytest.raises(ValueError, match="cannot choose 4 points out of 3 candidates"):
        select_points(np.zeros((1, 3)), [0, 0.5, 0.5, 1], 4)


@pytest.mark.parametrize("n_points", [0, -1, 2.0, True, None])
def test_wrong_number_of_points(n_points):
    with pytest.raises(ValueError, match="n_points must be a whole number of at least 1"):
        select_points(np.zeros((1, 3)), GRID, n_points)


def test_unknown_selector_lists_what_exists():
    with pytest.raises(ValueError, match="no selector 'best'; there are exact, kmeans, greedy, exhaustive"):
        select_points(np.zeros((1, 3)), GRID, 2, selector="best")


def test_exhaustive_refuses_large_problems():
    with pytest.raises(ValueError, match=f"the limit is {MAX_COMBINATIONS:,}"):
        select_points(np.zeros((1, 3)), UniversalSet().points, 16, selector="exhaustive")


@given(moments_and_candidates=st.integers(0, 10_000), n_points=st.integers(1, 4))
def test_pinned_zero_is_the_best_choice_that_holds_zero(moments_and_candidates, n_points):
    rng = np.random.default_rng(moments_and_candidates)
    universal = UniversalSet(2, 3)
    moments = Moments(2, universal.step).update(rng.uniform(-1, 1, (2, 40)) ** 3, channel_dim=0)
    pinned = ExactSelection(prepare(moments, universal.points, n_points), n_points, pin_zero=True)
    got = pinned.points(n_points)
    assert (got == 0).any(1).all()
    choices = [c for c in itertools.combinations(universal.points, n_points) if 0 in c]
    best = np.min([moments.sse(np.array(choice)) for choice in choices], axis=0)
    assert moments.sse(got) == pytest.approx(best, abs=1e-9)
    assert pinned.sse(n_points) == pytest.approx(best, abs=1e-9)


def test_zero_can_be_pinned_for_raw_values_too():
    data = prepare(np.array([[0.4, 0.6, 0.9]]), np.array([-0.5, 0.0, 0.5, 1.0]), 2)
    pinned = ExactSelection(data, 2, pin_zero=True)
    assert pinned.points(1).tolist() == [[0]]
    assert pinned.points(2).tolist() == [[0, 0.5]]
    assert pinned.sse(2) == pytest.approx(0.01 + 0.01 + 0.16)


def test_zero_must_be_a_candidate():
    with pytest.raises(ValueError, match="a point can be pinned at 0 only for candidates that hold 0"):
        ExactSelection(prepare(np.ones((1, 3)), np.array([0.5, 1.0]), 1), 1, pin_zero=True)
