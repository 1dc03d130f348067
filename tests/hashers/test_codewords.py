"""Codewords of classes, by hand."""

import numpy as np

from skhash.centers import minimum_distance
from skhash.hashers._codewords import first_words, further_words


def test_first_words_are_far_apart_where_there_are_enough():
    words = first_words(np.random.RandomState(0).standard_normal((4, 3)), (4, 8), np.random.RandomState(0))
    assert (words.shape, words.dtype) == ((4, 8), np.int8)
    # No four words of four bits are further apart than two, none of eight bits further than five.
    assert minimum_distance(words[:, :4]) == 2
    assert minimum_distance(words) in (4, 5)


def test_more_classes_than_words_share_some():
    # Two bits have four words; the means are on either side of 0 in two directions.
    prototypes = np.array([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0], [3.1, 3.1]])
    words = first_words(prototypes, (2,), np.random.RandomState(0))
    assert set(np.unique(words)) == {-1, 1}
    np.testing.assert_array_equal(words[0], words[4])


def test_further_words_are_near_to_where_the_means_fall():
    taken = np.array([[1, 1], [1, -1]])
    projections = np.array([[0.1, -0.9], [0.2, 0.8]])
    # The words that are left are (-1, -1) and (-1, 1).
    further = further_words(taken, projections, (2,), np.random.RandomState(0))
    np.testing.assert_array_equal(further, [[-1, -1], [-1, 1]])


def test_further_words_are_signs_where_a_block_has_too_few():
    taken = np.array([[1, 1], [-1, -1]])
    projections = np.array([[0.1, -0.9]])
    # The first block has one bit, for three classes.
    np.testing.assert_array_equal(further_words(taken, projections, (1, 2), np.random.RandomState(0)), [[1, -1]])
