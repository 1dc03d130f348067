"""Figures are drawn without a screen and closed after every test."""

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def _figures_without_a_screen():
    if importlib.util.find_spec("matplotlib") is None:
        yield
        return
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")
