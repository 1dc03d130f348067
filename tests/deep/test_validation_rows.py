"""Rows held out for validation."""

import numpy as np
import pytest

from skhash._labels import encode_labels
from skhash.deep._labels import validation_rows


def test_validation_takes_the_same_share_of_every_class():
    y = np.repeat([0, 1, 2, -1], [100, 40, 15, 50])
    rows = validation_rows(encode_labels("Name", y), 0.1, np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows)
    # A tenth of 15 is one row, which could not be ranked against another one of its class.
    assert np.bincount(y[rows], minlength=3).tolist() == [10, 4, 0]


def test_validation_of_large_data_is_bounded():
    y = np.repeat([0, 1], 30_000)
    assert len(validation_rows(encode_labels("Name", y), 0.5, np.random.default_rng(0))) == 2000


@pytest.mark.parametrize(
    ("y", "fraction"),
    [(np.repeat([0, 1], 50), None), (np.repeat([0, 1], 5), 0.1), (np.zeros(100), 0.5), ([[1, 0]] * 50, 0.5)],
    ids=["none", "too-few", "one-class", "one-label"],
)
def test_there_is_no_validation_where_it_could_not_rank(y, fraction):
    assert len(validation_rows(encode_labels("Name", y), fraction, np.random.default_rng(0))) == 0


def test_validation_of_indicators():
    y = np.eye(4, dtype=int)[np.arange(100) % 4]
    rows = validation_rows(encode_labels("Name", y), 0.2, np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows) == 20
