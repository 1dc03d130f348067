"""The neighbour graph inside scikit-learn's own estimators."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_digits
from sklearn.manifold import SpectralEmbedding
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsTransformer,
    LocalOutlierFactor,
    RadiusNeighborsTransformer,
)
from sklearn.pipeline import make_pipeline

from skhash import ITQ, HammingNearestNeighborsTransformer
from skhash.codes import unpack_codes

X, Y = load_digits(return_X_y=True)
CODES = ITQ(32, random_state=0).fit_transform(X)[:300]


def bits(codes):
    return unpack_codes(codes).astype(float)


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_graph_has_the_distances_of_the_peer_on_unpacked_bits(mode):
    """Squared Euclidean distance between 0/1 vectors is the Hamming distance."""
    ours = HammingNearestNeighborsTransformer(n_neighbors=7, mode=mode).fit(CODES[:200])
    peer = KNeighborsTransformer(n_neighbors=7, mode=mode, metric="sqeuclidean", algorithm="brute").fit(
        bits(CODES[:200])
    )
    graph, expected = ours.transform(CODES[200:]), peer.transform(bits(CODES[200:]))
    assert graph.shape == expected.shape
    assert graph.nnz == expected.nnz
    np.testing.assert_allclose(np.sort(graph.data), np.sort(expected.data), atol=1e-9)


def test_radius_graph_equals_the_peer():
    ours = HammingNearestNeighborsTransformer(radius=6).fit_transform(CODES)
    peer = RadiusNeighborsTransformer(radius=6.5, metric="sqeuclidean", algorithm="brute").fit_transform(bits(CODES))
    np.testing.assert_allclose(ours.toarray(), peer.toarray(), atol=1e-9)
    assert ours.nnz == peer.nnz


def test_entries_of_a_row_come_by_distance_as_scikit_learn_expects():
    graph = HammingNearestNeighborsTransformer(n_neighbors=20).fit_transform(CODES)
    assert (np.diff(graph.data.reshape(len(CODES), -1), axis=1) >= 0).all()


def test_classifier_on_the_precomputed_graph_predicts_the_majority_of_the_nearest():
    pipeline = make_pipeline(
        ITQ(64 - 8, random_state=0),
        HammingNearestNeighborsTransformer(n_neighbors=5),
        KNeighborsClassifier(n_neighbors=1, metric="precomputed"),
    ).fit(X[:1200], Y[:1200])
    hasher = pipeline[0]
    distances = (bits(hasher.transform(X[1200:]))[:, None] != bits(hasher.transform(X[:1200]))[None]).sum(axis=2)
    expected = Y[:1200][distances.argmin(axis=1)]
    np.testing.assert_array_equal(pipeline.predict(X[1200:]), expected)
    assert pipeline.score(X[1200:], Y[1200:]) > 0.85


def test_dbscan_on_the_precomputed_graph_equals_dbscan_on_distances():
    expected = DBSCAN(eps=5.5, min_samples=4, metric="sqeuclidean").fit_predict(bits(CODES))
    graph = HammingNearestNeighborsTransformer(radius=8).fit_transform(CODES)
    np.testing.assert_array_equal(DBSCAN(eps=5, min_samples=4, metric="precomputed").fit_predict(graph), expected)


def test_other_graph_estimators_run():
    graph = HammingNearestNeighborsTransformer(n_neighbors=15).fit_transform(CODES)
    assert LocalOutlierFactor(n_neighbors=15, metric="precomputed").fit_predict(graph).shape == (300,)
    connectivity = HammingNearestNeighborsTransformer(n_neighbors=15, mode="connectivity").fit_transform(CODES)
    embedding = SpectralEmbedding(affinity="precomputed", random_state=0).fit_transform(connectivity + connectivity.T)
    assert np.isfinite(embedding).all()


def test_more_neighbours_than_codes_are_refused():
    with pytest.raises(ValueError, match="HammingNearestNeighborsTransformer: n_neighbors=5 must be <= 4 for 5"):
        HammingNearestNeighborsTransformer(n_neighbors=5).fit(CODES[:5]).transform(CODES[:5])


def test_no_codes_are_not_the_training_codes():
    """None gave the graph of the database, each code without itself."""
    transformer = HammingNearestNeighborsTransformer(1).fit([[0], [1], [3]])
    with pytest.raises(TypeError, match="codes are None"):
        transformer.transform(None)


def test_huge_unsigned_numbers_of_neighbors_do_not_wrap_around():
    transformer = HammingNearestNeighborsTransformer(np.uint64(2**64 - 1)).fit([[0], [1], [3]])
    with pytest.raises(ValueError, match="n_neighbors=18446744073709551615 must be <= 2"):
        transformer.transform([[0]])
