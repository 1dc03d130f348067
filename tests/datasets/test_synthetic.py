"""make_clustered_codes against a double loop over the bits."""

import numpy as np
import pytest

from skhash.datasets import make_clustered_codes

CASES = [
    {},
    {"n_samples": 203, "n_bits": 32, "n_clusters": 7, "n_queries": 11},
    {"n_samples": 100, "n_bits": 13, "n_clusters": 4, "radius": 1, "query_radius": 0},
    {"n_samples": 90, "n_bits": 45, "n_clusters": 3, "radius": 3, "query_radius": 3},
    {"n_samples": 50, "n_bits": 100, "n_clusters": 50, "n_queries": 60, "radius": 0, "query_radius": 5},
    {"n_samples": 20, "n_bits": 1, "n_clusters": 2, "radius": 0, "query_radius": 0},
    {"n_samples": 20, "n_bits": 1, "n_clusters": 1, "radius": 1, "query_radius": 0},
    {"n_samples": 20, "n_bits": 6, "n_clusters": 1, "radius": 2, "query_radius": 4},
]


def distances_by_double_loop(dataset):
    rows = []
    for query in dataset.queries:
        rows.append([sum(int(a ^ b).bit_count() for a, b in zip(query, code, strict=True)) for code in dataset.codes])
    return np.array(rows)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("params", CASES, ids=str)
def test_neighbors_are_those_of_an_exhaustive_search(params, seed):
    dataset = make_clustered_codes(**params, random_state=seed)
    distances = distances_by_double_loop(dataset)
    k = dataset.neighbor_ids.shape[1]
    for row, ids, known in zip(distances, dataset.neighbor_ids, dataset.neighbor_distances, strict=True):
        ranking = sorted(range(len(row)), key=lambda position: (row[position], position))
        assert ids.tolist() == ranking[:k]
        assert known.tolist() == row[ids].tolist()


@pytest.mark.parametrize("params", CASES, ids=str)
def test_search_within_the_sum_of_the_radii_returns_the_cluster(params):
    dataset = make_clustered_codes(**params, random_state=0)
    within = distances_by_double_loop(dataset) <= params.get("radius", 2) + params.get("query_radius", 1)
    np.testing.assert_array_equal(within, dataset.query_target[:, np.newaxis] == dataset.target)


@pytest.mark.parametrize("params", CASES, ids=str)
def test_shapes_dtypes_and_padding(params):
    dataset = make_clustered_codes(**params, random_state=0)
    n_samples, n_bits = params.get("n_samples", 1000), params.get("n_bits", 64)
    n_clusters, n_queries = params.get("n_clusters", 10), params.get("n_queries", 10)
    n_bytes = (n_bits + 7) // 8
    shapes = {
        "codes": (n_samples, n_bytes),
        "target": (n_samples,),
        "queries": (n_queries, n_bytes),
        "query_target": (n_queries,),
        "neighbor_ids": (n_queries, n_samples // n_clusters),
        "neighbor_distances": (n_queries, n_samples // n_clusters),
    }
    assert {name: array.shape for name, array in dataset.items()} == shapes
    assert dataset.codes.dtype == dataset.queries.dtype == np.uint8
    for name in ("target", "query_target", "neighbor_ids", "neighbor_distances"):
        assert dataset[name].dtype == np.int64
    for codes in (dataset.codes, dataset.queries):
        assert not np.unpackbits(codes, axis=1)[:, n_bits:].any()
    sizes = np.bincount(dataset.target, minlength=n_clusters)
    assert sizes.max() - sizes.min() <= 1


def test_every_distance_up_to_the_sum_of_the_radii_occurs():
    dataset = make_clustered_codes(2000, n_queries=40, radius=3, query_radius=2, random_state=0)
    assert np.unique(dataset.neighbor_distances).tolist() == [0, 1, 2, 3, 4, 5]


def test_same_seed_same_codes_and_another_seed_others():
    first, again, other = (make_clustered_codes(random_state=seed) for seed in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first.codes != other.codes).any()


def test_codes_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    first = make_clustered_codes(100, random_state=0)
    monkeypatch.setattr("skhash.datasets._synthetic._BLOCK_BITS", 700)
    np.testing.assert_array_equal(make_clustered_codes(100, random_state=0).codes, first.codes)


def test_all_codes_can_be_centers():
    dataset = make_clustered_codes(256, n_bits=8, n_clusters=256, radius=0, query_radius=0, random_state=0)
    assert sorted(dataset.codes[:, 0].tolist()) == list(range(256))


def test_enumeration_finds_room_where_random_draws_fail():
    """16 words of length 7 that differ in 3 bits exist: the Hamming code, which is a lexicographic code."""
    params = {"n_bits": 7, "radius": 1, "query_radius": 0, "n_queries": 16}
    dataset = make_clustered_codes(128, n_clusters=16, **params, random_state=0)
    within = distances_by_double_loop(dataset) <= 1
    np.testing.assert_array_equal(within, dataset.query_target[:, np.newaxis] == dataset.target)
    with pytest.raises(ValueError, match="found room for 16 of n_clusters=17"):
        make_clustered_codes(128, n_clusters=17, **params, random_state=0)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_bits": 1}, r"radius \+ query_radius = 3 must be <= n_bits=1"),
        (
            {"n_bits": 20, "radius": 5, "query_radius": 5},
            r"found room for 1 of n_clusters=10 .* = 21 of n_bits=20",
        ),
        ({"n_samples": 9}, "n_samples=9 must be >= n_clusters=10"),
        ({"n_bits": 0}, "'n_bits' parameter of make_clustered_codes"),
        ({"radius": -1}, "'radius' parameter of make_clustered_codes"),
        ({"n_queries": 0}, "'n_queries' parameter of make_clustered_codes"),
    ],
)
def test_parameters_that_admit_no_construction(params, match):
    with pytest.raises(ValueError, match=match) as info:
        make_clustered_codes(**params)
    assert "\n" not in str(info.value)


def test_sizes_in_integers_of_numpy_are_as_good():
    """Unsigned numbers made indices of floats."""
    sizes = {"n_bits": 32, "n_clusters": 2, "n_queries": 3, "radius": 2, "query_radius": 1}
    plain = make_clustered_codes(20, **sizes, random_state=0)
    typed = make_clustered_codes(
        np.uint64(20), **{name: np.uint64(value) for name, value in sizes.items()}, random_state=0
    )
    for name, values in plain.items():
        np.testing.assert_array_equal(typed[name], values)


def test_more_codes_than_memory_are_refused_before_they_are_allocated():
    with pytest.raises(MemoryError, match="n_samples=1152921504606846976"):
        make_clustered_codes(2**60)
