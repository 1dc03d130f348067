"""Every public entry point of the package, with a maker of cases for each; what has none is named with the reason.

`ENTRIES` is what the tests and the command go through. The share of an entry is its number of cases in a run of the
tests: many for functions that take microseconds, few for fits.
"""

import contextlib
import copy
import functools
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from bitarray import bitarray
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skhash
from skhash import (
    HammingNearestNeighbors,
    HammingNearestNeighborsTransformer,
    RetrievalPipeline,
    datasets,
    metrics,
    neighbors,
)
from skhash import centers as center_functions
from skhash import codes as code_functions
from skhash.features import PixelFeatures, find_unreadable_images
from tests.estimators import HAS_TORCH, HASHERS, SMALL_INSTANCES
from tests.hardening import hostile
from tests.hardening.hostile import EITHER, REFUSED, Argument, plain
from tests.hardening.outcomes import Case, same

_CODES, _SEARCH, _METRIC, _SMALL = 180, 150, 120, 54
_FIT, _SLOW_FIT = 14, 4


@dataclass(frozen=True)
class Entry:
    """An entry point: its public name, how often it is tried, and what makes a case of it."""

    name: str
    share: int
    make: Callable


ENTRIES: list[Entry] = []


def entry(name, share):
    """Register a maker of cases, a function of a `random.Random`."""

    def register(make):
        ENTRIES.append(Entry(name, share, make))
        return make

    return register


def any_result(result, values):
    """Accept any result, whose equality with that of plain arguments is checked in any case."""


def has(dtype, *, ndim):
    """Make a check of the dtype and the number of dimensions of an array."""

    def check(result, values):
        if not isinstance(result, np.ndarray) or result.dtype != dtype or result.ndim != ndim:
            dtypes = f"{getattr(result, 'dtype', None)}, not {dtype}"
            return f"returned {type(result).__name__} of dtype {dtypes} of {ndim} dimensions"
        return None

    return check


def equals(oracle):
    """Make a check against what a naive function gives for plain arguments."""

    def check(result, values):
        if values is None:
            return None
        expected = oracle(**values)
        return None if same(result, expected) else f"returned {result!r}, expected {expected!r}"

    return check


def one_hostile(rng, arguments, makers):
    """Make one of the arguments hostile, rarely two."""
    arguments = {name: plain(value) for name, value in arguments.items()}
    for name in rng.sample(sorted(makers), 1 if len(makers) == 1 or rng.random() < 0.9 else 2):
        arguments[name] = makers[name]()
    return arguments


def bits_of(codes):
    return np.unpackbits(codes, axis=1)


def _codes_of(rng, n_samples, n_bytes):
    return hostile.numpy_rng(rng).integers(256, size=(n_samples, n_bytes), dtype=np.uint8)


# --- skhash.codes


@entry("skhash.codes.check_codes", _CODES)
def _check_codes(rng):
    makers = {
        "codes": lambda: hostile.codes(rng, 5, 2),
        "n_bits": lambda: hostile.count(rng, 16, none=True),
    }
    return Case(
        code_functions.check_codes,
        one_hostile(rng, {"codes": _codes_of(rng, 5, 2), "n_bits": 16}, makers),
        equals(lambda codes, n_bits: codes),
    )


@entry("skhash.codes.code_width", _CODES)
def _code_width(rng):
    # A large number of bits has a width, though no machine has room for it.
    argument = hostile.count(rng, 12)
    if argument.text == "huge number" and isinstance(argument.value, (int, np.integer)):
        argument = plain(argument.value)
    return Case(code_functions.code_width, {"n_bits": argument}, equals(lambda n_bits: -(-int(n_bits) // 8)))


def _pairs_of_codes(name, call, oracle, *, share=_CODES, n_rows=(4, 7)):
    @entry(name, share)
    def make(rng):
        names = list(oracle.__code__.co_varnames[:2])
        arguments = {n: _codes_of(rng, rows, 2) for n, rows in zip(names, n_rows, strict=True)}
        makers = {n: functools.partial(hostile.codes, rng, rows, 2) for n, rows in zip(names, n_rows, strict=True)}
        made = one_hostile(rng, arguments, makers)
        if made[names[1]].value is None:
            # The queries among themselves.
            made[names[1]] = Argument(None, None, EITHER, "none")
            return Case(call, made, any_result)
        return Case(call, made, equals(oracle))


def _spherical(query_codes, database_codes):
    bits = bits_of(query_codes)[:, None].astype(int), bits_of(database_codes)[None].astype(int)
    return 10.0 * (bits[0] != bits[1]).sum(axis=2) / (10 * (bits[0] & bits[1]).sum(axis=2) + 1)


_pairs_of_codes(
    "skhash.codes.hamming_distances",
    code_functions.hamming_distances,
    lambda query_codes, database_codes: (
        (bits_of(query_codes)[:, None] != bits_of(database_codes)).sum(axis=2).astype(np.int32)
    ),
)
_pairs_of_codes(
    "skhash.codes.paired_hamming_distances",
    code_functions.paired_hamming_distances,
    lambda codes_a, codes_b: (bits_of(codes_a) != bits_of(codes_b)).sum(axis=1).astype(np.int32),
    n_rows=(4, 4),
)
_pairs_of_codes("skhash.codes.spherical_hamming_distances", code_functions.spherical_hamming_distances, _spherical)


@entry("skhash.codes.hex_from_codes", _CODES)
def _hex_from_codes(rng):
    return Case(
        code_functions.hex_from_codes,
        {"codes": hostile.codes(rng, 3, 2)},
        equals(lambda codes: [bytes(row.tolist()).hex() for row in codes]),
    )


@entry("skhash.codes.codes_from_hex", _CODES)
def _codes_from_hex(rng):
    good = [bytes(row.tolist()).hex() for row in _codes_of(rng, 3, 2)]
    kind = rng.choice(["container", "odd string", "odd item", "odd"])
    if kind == "container":
        make = rng.choice(
            [tuple, iter, np.array, lambda texts: np.array(texts, dtype=object), lambda t: dict.fromkeys(t)]
        )
        return Case(
            lambda texts: code_functions.codes_from_hex(make(texts)), {"texts": plain(good)}, has(np.uint8, ndim=2)
        )
    if kind == "odd":
        argument = hostile.no_matrix(rng)
    else:
        odd = rng.choice(
            ["", "f", "fff", "0x12", "ff ff", "gggg", "１２３４", "ff\nf", "\x00fff", "-fff", "ffff" * 500]
        )
        item = (
            odd if kind == "odd string" else rng.choice([*hostile.ODD_OBJECTS, 1, 1.5, b"ffff", ["f", "f", "f", "f"]])
        )
        argument = Argument([good[0], item, good[2]], None, REFUSED, f"hexadecimal strings with {item!r:.40}")
    return Case(lambda texts: code_functions.codes_from_hex(texts), {"texts": argument}, has(np.uint8, ndim=2))


@entry("skhash.codes.bitarrays_from_codes", _CODES)
def _bitarrays_from_codes(rng):
    makers = {"codes": lambda: hostile.codes(rng, 3, 2), "n_bits": lambda: hostile.count(rng, 16, none=True)}
    return Case(
        code_functions.bitarrays_from_codes,
        one_hostile(rng, {"codes": _codes_of(rng, 3, 2), "n_bits": 16}, makers),
        equals(lambda codes, n_bits: [bitarray(row.tolist()) for row in bits_of(codes)]),
    )


@entry("skhash.codes.codes_from_bitarrays", _CODES)
def _codes_from_bitarrays(rng):
    good = [bitarray(row.tolist(), endian=rng.choice(["big", "little"])) for row in bits_of(_codes_of(rng, 3, 2))]
    if rng.random() < 0.3:
        make = rng.choice([list, tuple, iter, lambda arrays: (array for array in arrays)])
        expected = np.packbits([array.tolist() for array in good], axis=1)
        return Case(
            lambda arrays: code_functions.codes_from_bitarrays(make(arrays)),
            {"arrays": plain(good)},
            equals(lambda arrays: expected),
        )
    if rng.random() < 0.3:
        argument = hostile.no_matrix(rng)
    else:
        odd = rng.choice([*hostile.ODD_OBJECTS, bitarray(), bitarray("1"), "0" * 16, "2" * 16, [0, 1] * 8, [2] * 16,
                          16, -1,
                          b"\x00" * 16, 2.0, np.zeros(16, dtype=bool), np.zeros(16), 10**30])  # fmt: skip
        argument = Argument([good[0], odd, good[2]], None, REFUSED, f"bit arrays with {odd!r:.40}")
    return Case(code_functions.codes_from_bitarrays, {"arrays": argument}, has(np.uint8, ndim=2))


@entry("skhash.codes.pack_bits", _CODES)
def _pack_bits(rng):
    bits = hostile.numpy_rng(rng).random((4, 11)) < 0.5
    kind = rng.choice(["dtype", "layout", "container", "sparse", "hostile", "mixed"])
    expected = equals(lambda bits: np.packbits(np.asarray(bits) == 1, axis=1))
    if kind == "dtype":
        signs = 2 * bits.astype(np.int8) - 1
        cast = rng.choice([bits.astype(rng.choice([*hostile.INTEGERS, *hostile.FLOATS])),
                           signs.astype(rng.choice([np.int8, np.int64, *hostile.FLOATS]))])  # fmt: skip
        moved = hostile.in_other_memory(rng, cast)
        argument = Argument(moved.value, bits, "equal", f"{moved.text}, {cast.dtype}")
    elif kind == "layout":
        argument = hostile.in_other_memory(rng, bits)
    elif kind == "container":
        argument = hostile.in_a_container(rng, bits.astype(np.float64))
    elif kind == "sparse":
        argument = hostile.sparse_matrix(rng, bits.astype(np.float64))
        argument = Argument(argument.value, None, REFUSED, argument.text)
    elif kind == "hostile":
        argument = hostile.codes(rng, 4, 3)
        argument = Argument(argument.value, None, EITHER if argument.verdict != REFUSED else REFUSED, argument.text)
        # Codes out of their range may be bits.
        if "among codes" in argument.text or "booleans" in argument.text or "objects with" in argument.text:
            argument = hostile.no_matrix(rng)
    else:
        mixed = bits.astype(float)
        mixed[0, :3] = rng.choice([(0, 1, -1), (np.nan, 0, 1), (0.5, 0, 1), (2, 0, 1), (np.inf, 1, 1)])
        argument = Argument(mixed, None, REFUSED, "bits with other values")
    return Case(
        code_functions.pack_bits, {"bits": argument}, expected if argument.plain is bits else has(np.uint8, ndim=2)
    )


@entry("skhash.codes.unpack_codes", _CODES)
def _unpack_codes(rng):
    makers = {"codes": lambda: hostile.codes(rng, 3, 2), "n_bits": lambda: hostile.count(rng, 16, none=True)}
    return Case(
        code_functions.unpack_codes,
        one_hostile(rng, {"codes": _codes_of(rng, 3, 2), "n_bits": 16}, makers),
        equals(lambda codes, n_bits: bits_of(codes).astype(bool)),
    )


@entry("skhash.codes.to_signs", _CODES)
def _to_signs(rng):
    def dtype():
        value = rng.choice(
            [None, "int8", np.int16, "float16", float, "longdouble", ">i4", "uint8", bool, complex, "U3", "S1", object,
             "datetime64[s]", "no dtype", 3, 3.5, [], {}, np.dtype([("a", int)]), "two\nlines", len, "i8,i8", ("i1",
             3), "V2",
             "x" * 3000]
        )  # fmt: skip
        return Argument(value, None, EITHER, f"dtype={value!r:.50}")

    makers = {
        "codes": lambda: hostile.codes(rng, 3, 2),
        "n_bits": lambda: hostile.count(rng, 16, none=True),
        "dtype": dtype,
    }

    def check(result, values):
        if result.dtype.kind not in "if" or result.shape[1:] != (16,) or set(np.unique(result)) - {-1, 1}:
            return f"returned {result!r}, no signs"
        return None

    arguments = {"codes": _codes_of(rng, 3, 2), "n_bits": 16, "dtype": np.int8}
    return Case(code_functions.to_signs, one_hostile(rng, arguments, makers), check)


@entry("skhash.codes.reverse_bit_order", _CODES)
def _reverse_bit_order(rng):
    return Case(
        code_functions.reverse_bit_order,
        {"codes": hostile.codes(rng, 3, 2)},
        equals(lambda codes: np.packbits(bits_of(codes), axis=1, bitorder="little")),
    )


@entry("skhash.codes.truncate_codes", _CODES)
def _truncate_codes(rng):
    makers = {"codes": lambda: hostile.codes(rng, 3, 2), "n_bits": lambda: hostile.count(rng, 11)}
    return Case(
        code_functions.truncate_codes,
        one_hostile(rng, {"codes": _codes_of(rng, 3, 2), "n_bits": 11}, makers),
        equals(lambda codes, n_bits: np.packbits(bits_of(codes)[:, :n_bits], axis=1)),
    )


# --- skhash.metrics

_N_QUERIES, _N_DATABASE = 20, 24


def _score_check(result, values):
    scores = result if isinstance(result, tuple) else (result,)
    if not isinstance(scores[0], float) or not 0 <= scores[0] <= 1 + 1e-12:
        return f"returned {result!r}, no score from 0 to 1"
    return None


def _ranking_metric(name, *, options, counts, check=_score_check):
    function = getattr(metrics, name)

    @entry(f"skhash.metrics.{name}", _METRIC)
    def make(rng):
        arguments = {
            "query_codes": _codes_of(rng, _N_QUERIES, 1),
            "database_codes": _codes_of(rng, _N_DATABASE, 1),
            "query_labels": np.arange(_N_QUERIES) % 3,
            "database_labels": np.arange(_N_DATABASE) % 3,
            **{option: values[0] for option, values in options.items()},
            **counts,
        }
        makers = {
            "query_codes": lambda: hostile.codes(rng, _N_QUERIES, 1),
            "database_codes": lambda: hostile.codes(rng, _N_DATABASE, 1),
            "query_labels": lambda: hostile.labels(rng, _N_QUERIES),
            "database_labels": lambda: hostile.labels(rng, _N_DATABASE),
            **{option: functools.partial(hostile.option, rng, arguments[option]) for option in options},
            **{count: functools.partial(hostile.count, rng, value, none=True) for count, value in counts.items()},
        }
        for option, values in options.items():
            arguments[option] = rng.choice(values)
        made = one_hostile(rng, arguments, makers)
        if rng.random() < 0.1:
            # Both of one kind: what is odd on one side alone is often refused for that.
            made = {name: plain(value) for name, value in arguments.items()}
            both = hostile.labels(rng, _N_QUERIES)
            made["query_labels"], made["query_codes"] = both, plain(_codes_of(rng, _N_QUERIES, 1))
            made["database_labels"] = made["database_codes"] = plain(None)
        # None asks for the queries themselves, which both have to.
        huge_radius = (
            "radius" in made
            and made["radius"].text == "huge number"
            and isinstance(made["radius"].value, (int, np.integer))
        )
        if huge_radius:
            made["radius"] = Argument(made["radius"].value, None, EITHER, "huge radius")
        return Case(function, made, check)


_TIES = {"ties": ["expected", "best", "worst"]}
_ZERO = {"zero_relevant": ["zero", "skip", "error"]}


def _curve_check(result, values):
    precision, recall, radii = result
    if not (
        precision.dtype == recall.dtype == np.float64 and radii.dtype.kind == "i" and len(recall) == len(radii) == 9
    ):
        return f"returned {result!r}, no curves"
    return None


_ranking_metric(
    "mean_average_precision",
    options={**_TIES, "normalizer": ["min_k_total", "retrieved"], **_ZERO},
    counts={"k": 4},
)
_ranking_metric("precision_at_k", options={**_TIES, **_ZERO}, counts={"k": 4})
_ranking_metric("recall_at_k", options={**_TIES, **_ZERO}, counts={"k": 4})
_ranking_metric("ndcg_at_k", options={**_TIES, **_ZERO}, counts={"k": 4})
_ranking_metric(
    "acg_at_k",
    options={**_TIES, **_ZERO},
    counts={"k": 4},
    check=lambda result, values: None if isinstance(result, float) and result >= 0 else f"returned {result!r}",
)
_ranking_metric("precision_within_radius", options=_ZERO, counts={"radius": 2})
_ranking_metric("precision_recall_by_radius", options=_ZERO, counts={"n_bits": 8}, check=_curve_check)


@entry("skhash.metrics.average_precision_from_distances", _METRIC)
def _average_precision_from_distances(rng):
    distances = hostile.numpy_rng(rng).integers(5, size=(4, 6)).astype(np.float64)
    relevance = hostile.numpy_rng(rng).random((4, 6)) < 0.5

    def hostile_distances():
        made = hostile.features(rng, 4, 6)
        if made.text == "infinity" or made.text == "1-d" or "longdouble" in made.text or "dtype bool" in made.text:
            return Argument(made.value, None, EITHER, made.text)
        return made if not made.text.startswith("sparse") else Argument(made.value, None, REFUSED, made.text)

    def hostile_relevance():
        made = _pack_bits(rng).arguments["bits"]
        return Argument(made.value, None, EITHER, made.text)

    def check(result, values):
        values = np.atleast_1d(result)
        if values.dtype != np.float64 or not ((values >= 0) & (values <= 1 + 1e-12) | np.isnan(values)).all():
            return f"returned {result!r}, no scores"
        return None

    makers = {
        "distances": hostile_distances,
        "relevance": rng.choice([hostile_relevance, lambda: _of_relevance(rng, relevance)]),
        "k": lambda: hostile.count(rng, 3, none=True),
        "zero_relevant": lambda: hostile.option(rng, "skip"),
    }
    arguments = {"distances": distances, "relevance": relevance, "k": 3, "zero_relevant": "skip"}
    return Case(metrics.average_precision_from_distances, one_hostile(rng, arguments, makers), check)


def _of_relevance(rng, relevance):
    made = rng.choice([hostile.in_other_memory, hostile.in_a_container])(rng, relevance)
    return Argument(made.value, relevance, EITHER, made.text)


@entry("skhash.metrics.code_statistics", _METRIC)
def _code_statistics(rng):
    # Some frames hold a column in float32.
    projections = hostile.numpy_rng(rng).standard_normal((6, 8), dtype=np.float32).astype(np.float64)

    def hostile_projections():
        made = hostile.features(rng, 6, 8)
        # None is what there is without projections.
        is_refused = made.verdict == REFUSED and made.value is not None
        return Argument(made.value, None, REFUSED if is_refused else EITHER, made.text)

    makers = {
        "codes": lambda: hostile.codes(rng, 6, 1),
        "n_bits": lambda: hostile.count(rng, 8, none=True),
        "projections": rng.choice(
            [hostile_projections, lambda: hostile.in_other_memory(rng, projections),
             lambda: hostile.in_a_container(rng, projections)]
        ),
    }  # fmt: skip
    arguments = {"codes": np.packbits(projections >= 0, axis=1), "n_bits": 8, "projections": projections}
    if rng.random() < 0.5:
        arguments["projections"] = None
        del makers["projections"]
    return Case(metrics.code_statistics, one_hostile(rng, arguments, makers), any_result)


@entry("skhash.metrics.make_retrieval_scorer", _SMALL)
def _make_retrieval_scorer(rng):
    def names():
        value = rng.choice(
            [[], ["precision_at_k"], ("recall_at_k", "recall_at_k"), ["unknown"], "unknown", None, 1, [1], [["a"]],
             {}, b"a",
             object, ["mean_average_precision", "precision_at_k"], "two\nlines", np.array(["precision_at_k"]),
             iter("a")]
        )  # fmt: skip
        return Argument(value, None, EITHER, f"metrics={value!r}")

    makers = {
        "metrics": names,
        "database": lambda: hostile.option(rng, "fitted"),
        "k": lambda: hostile.count(rng, 3),
        "ties": lambda: hostile.option(rng, "expected"),
        "unknown": lambda: hostile.parameter(rng, huge=True),
    }
    arguments = {"metrics": "precision_at_k", "database": "fitted", "k": 3, "ties": "expected"}
    made = one_hostile(rng, arguments, makers)
    for name in ("k",):
        # Its largest value depends on the database, which comes later.
        if made[name].text == "huge number":
            made[name] = Argument(made[name].value, None, EITHER, "huge number")

    def call(**keywords):
        scorer = metrics.make_retrieval_scorer(**keywords)
        return repr(scorer) is not None and callable(scorer)

    return Case(call, made, any_result)


@functools.cache
def _scored_pipeline():
    pipeline = RetrievalPipeline([("hash", skhash.LSH(8, random_state=0)), ("search", HammingNearestNeighbors())])
    return pipeline.fit(_train(), _train_labels())


def _scorer_entry(name, scorer):
    @entry(f"skhash.metrics.{name}", _SMALL)
    def make(rng):
        estimators = [
            None, object(), "text", skhash.LSH(8), HammingNearestNeighbors(), FunctionTransformer().fit(_train()),
            make_pipeline(FunctionTransformer(), "passthrough"), HammingNearestNeighbors().fit(_codes_of(rng, 5, 1)),
            1, len,
        ]  # fmt: skip
        kind = rng.choice(["X", "y", "estimator"])
        arguments = {"estimator": plain(_scored_pipeline()), "X": plain(_train()), "y": plain(_train_labels())}
        if kind == "estimator":
            value = rng.choice(estimators)
            arguments["estimator"] = Argument(value, None, REFUSED, f"{type(value).__name__} as an estimator")
        elif kind == "X":
            arguments["X"] = hostile.features(rng, _N_TRAIN, _N_FEATURES)
        else:
            arguments["y"] = hostile.labels(rng, _N_TRAIN)
        return Case(lambda **given: scorer(**given), arguments, _score_check, (metrics.RetrievalScoringError,))


_scorer_entry("mean_average_precision_scorer", metrics.mean_average_precision_scorer)
_scorer_entry("precision_within_radius_scorer", metrics.precision_within_radius_scorer)


# --- skhash.datasets


def _split_check(result, values):
    parts = [result[name] for name in ("query", "train", "database")]
    if any(part.dtype != np.int64 for part in parts) or len(result["split_hash"]) != 64:
        return f"returned {result!r}, no split"
    return None


def _whole(label):
    return int(label) if isinstance(label, (float, np.floating)) else label


def _split_entry(name, function, counts):
    @entry(f"skhash.datasets.{name}", _METRIC)
    def make(rng):
        arguments = {"y": np.arange(24) % 4, **counts, "random_state": 0}
        makers = {
            "y": lambda: hostile.labels(rng, 24, 4, single=True),
            **{count: functools.partial(hostile.count, rng, value) for count, value in counts.items()},
            "random_state": lambda: hostile.seed(rng),
        }
        made = one_hostile(rng, arguments, makers)
        for count, argument in made.items():
            # None takes all rows; 0.5 is a share of the classes.
            if count != "y" and (argument.value is None or isinstance(argument.value, (float, np.floating))):
                made[count] = Argument(argument.value, None, EITHER, argument.text)
        if made["y"].text in ("labels, short", "labels, long"):
            made["y"] = plain(made["y"].value)

        def call(**keywords):
            split = function(**keywords)
            # Classes keep the dtype they came in.
            classes = [
                [_whole(label) for label in split.pop(name).tolist()]
                for name in ("train_classes", "unseen_classes")
                if name in split
            ]
            return {**split, "classes": classes}

        return Case(call, made, _split_check)


_split_entry("retrieval_split", datasets.retrieval_split, {"n_queries_per_class": 1, "n_train_per_class": 2})
_split_entry(
    "unseen_class_split",
    datasets.unseen_class_split,
    {"n_unseen_classes": 2, "n_queries_per_class": 1, "n_train_per_class": 2},
)


@entry("skhash.datasets.make_clustered_codes", _SMALL)
def _make_clustered_codes(rng):
    arguments = {
        "n_samples": 20, "n_bits": 32, "n_clusters": 2, "n_queries": 3, "radius": 2, "query_radius": 1,
        "random_state": 0,
    }  # fmt: skip
    makers = {name: functools.partial(hostile.count, rng, value) for name, value in arguments.items()}
    makers["random_state"] = lambda: hostile.seed(rng)

    def check(result, values):
        if result.codes.dtype != np.uint8 or result.codes.ndim != 2:
            return f"returned codes {result.codes!r}"
        return None

    return Case(datasets.make_clustered_codes, one_hostile(rng, arguments, makers), check)


def _paths(rng):
    value = rng.choice(
        ["", "no such folder", "two\nlines", b"bytes", "null\0character", None, 1, -1, 1.5, [], ["a"], object,
         "x" * 300,
         "/dev/null", os.devnull, "\ud800", np.str_("none"), len, True, {}, "/proc/self/mem", np.array("a"), "~",
         "//", "."]
    )  # fmt: skip
    return Argument(value, None, EITHER, f"path {value!r:.40}")


@entry("skhash.datasets.load_image_folder", _SMALL)
def _load_image_folder(rng):
    folder = _folder()

    def extensions():
        value = rng.choice(
            [None, "png", ".png", (), (".png",), [".png"], (1,), (b".png",), {".png"}, 3, object, ("",), (".",)]
        )
        return Argument(value, None, EITHER, f"extensions={value!r}")

    def flag():
        value = rng.choice([None, 1, "yes", np.array([True, False]), [], 2.5])
        return Argument(value, None, EITHER, f"return_X_y={value!r}")

    makers = {"container_path": lambda: _paths(rng), "extensions": extensions, "return_X_y": flag}
    arguments = {"container_path": folder, "extensions": (".png",), "return_X_y": False}
    # Files that may not be read raise what Python raises.
    return Case(datasets.load_image_folder, one_hostile(rng, arguments, makers), any_result, (OSError,))


@functools.cache
def _folder():
    return tempfile.mkdtemp(prefix="skhash-hardening-")


def _fetch_entry(name, function):
    @entry(f"skhash.datasets.{name}", 10)
    def make(rng):
        makers = {
            "data_home": lambda: _paths(rng),
            "subset": lambda: hostile.option(rng, "train"),
            "return_X_y": lambda: hostile.parameter(rng, huge=False),
            "verbose": lambda: hostile.parameter(rng, huge=False),
        }
        arguments = {"data_home": _folder(), "subset": "train", "return_X_y": False, "verbose": False}
        makers["data_home"] = lambda: Argument(f"{_folder()}/none", None, EITHER, "folder that is not there")

        def call(**keywords):
            return function(download_if_missing=False, **keywords)

        # There are no files, which is an OSError.
        return Case(call, one_hostile(rng, arguments, makers), any_result, (OSError,))


_fetch_entry("fetch_cifar10", datasets.fetch_cifar10)
_fetch_entry("fetch_mnist", datasets.fetch_mnist)
_fetch_entry("fetch_fashion_mnist", datasets.fetch_fashion_mnist)


# --- skhash.centers


def _signs_check(result, values):
    if not isinstance(result, np.ndarray) or result.dtype != np.int8 or set(np.unique(result)) - {-1, 1}:
        return f"returned {result!r}, no codes of -1 and +1"
    return None


def _integer_check(result, values):
    return None if type(result) is int else f"returned {result!r}, no integer"


def _centers_entry(name, arguments, check, *, share=_SMALL):
    function = getattr(center_functions, name)

    @entry(f"skhash.centers.{name}", share)
    def make(rng):
        makers = {
            key: functools.partial(hostile.seed, rng)
            if key == "random_state"
            else functools.partial(hostile.count, rng, value)
            for key, value in arguments.items()
        }
        made = one_hostile(rng, arguments, makers)
        if name in ("gilbert_varshamov_distance", "plotkin_distance"):
            # Bounds of codes that no machine has room for are numbers all the same.
            for key, argument in made.items():
                if argument.text == "huge number" and not isinstance(argument.value, float):
                    small = {"n_classes": argument.value, "n_bits": 256}[key]
                    made[key] = Argument(small, None, EITHER, "huge number")
        return Case(function, made, check)


for _name in ("balanced_centers", "bernoulli_centers", "maximal_distance_centers"):
    _centers_entry(_name, {"n_classes": 4, "n_bits": 6, "random_state": 0}, _signs_check, share=20)
_centers_entry("hadamard_centers", {"n_classes": 4, "n_bits": 8, "random_state": 0}, _signs_check)
_centers_entry("extended_bch_centers", {"n_classes": 4, "n_bits": 8, "random_state": 0}, _signs_check)
_centers_entry("gilbert_varshamov_distance", {"n_classes": 4, "n_bits": 8}, _integer_check)
_centers_entry("plotkin_distance", {"n_classes": 4, "n_bits": 8}, _integer_check)


def _hostile_signs(rng, signs):
    kind = rng.choice(["layout", "container", "dtype", "values", "hostile", "other"])
    if kind == "layout":
        return hostile.in_other_memory(rng, signs)
    if kind == "container":
        return hostile.in_a_container(rng, signs)
    if kind == "dtype":
        return Argument(signs.astype(rng.choice([np.int16, *hostile.FLOATS])), signs, "equal", "signs of a dtype")
    if kind == "values":
        held = signs.astype(np.float64)
        held[0, 0] = rng.choice([0, 2, 0.5, np.nan, np.inf])
        return Argument(held, None, REFUSED, "signs with other values")
    made = hostile.features(rng, *signs.shape) if kind == "hostile" else hostile.no_matrix(rng)
    # Matrices of any numbers are no codes.
    return Argument(made.value, None, REFUSED, made.text)


@entry("skhash.centers.minimum_distance", _SMALL)
def _minimum_distance(rng):
    signs = 2 * hostile.numpy_rng(rng).integers(2, size=(4, 6)).astype(np.int8) - 1

    def oracle(centers):
        return min(int((one != other).sum()) for one, other in itertools.combinations(centers, 2))

    return Case(center_functions.minimum_distance, {"centers": _hostile_signs(rng, signs)}, equals(oracle))


@entry("skhash.centers.additional_centers", _SMALL)
def _additional_centers(rng):
    signs = 2 * hostile.numpy_rng(rng).integers(2, size=(4, 6)).astype(np.int8) - 1
    makers = {
        "centers": lambda: _hostile_signs(rng, signs),
        "n_new": lambda: hostile.count(rng, 2),
        "random_state": lambda: hostile.seed(rng),
    }
    arguments = {"centers": signs, "n_new": 2, "random_state": 0}
    return Case(center_functions.additional_centers, one_hostile(rng, arguments, makers), _signs_check)


@entry("skhash.centers.NestedCodebook", _SMALL)
def _nested_codebook(rng):
    def prefixes():
        value = rng.choice(
            [None, (), (2, 4), [2, 4], 2, "24", (4, 2), (0, 2), (-1,), (2.0, 4.0), (2.5,), ("2",), (True, 2),
             (None,), {},
             np.array([2, 4]), (2, 2), ((2, 4),), (10**400,), range(1, 4), iter((2, 4)), b"ab", object]
        )  # fmt: skip
        return Argument(value, None, EITHER, f"prefixes={value!r:.40}")

    makers = {
        "n_classes": lambda: hostile.count(rng, 4),
        "n_bits": lambda: hostile.count(rng, 8),
        "prefixes": prefixes,
        "random_state": lambda: hostile.seed(rng),
    }
    arguments = {"n_classes": 4, "n_bits": 8, "prefixes": (4,), "random_state": 0}

    def call(**keywords):
        codebook = center_functions.NestedCodebook(**keywords)
        return codebook.words, codebook.minimum_distances, codebook.bounds

    return Case(call, one_hostile(rng, arguments, makers), any_result)


@entry("skhash.centers.NestedCodebook.assign", _SMALL)
def _assign(rng):
    made = hostile.features(rng, 4, 3)
    argument = made if not made.text.startswith("sparse") else Argument(made.value, None, REFUSED, made.text)

    def call(prototypes):
        return copy.deepcopy(_codebook()).assign(prototypes).words

    return Case(call, {"prototypes": argument}, _signs_check)


@entry("skhash.centers.NestedCodebook.add", 20)
def _add_words(rng):
    makers = {"n_new": lambda: hostile.count(rng, 2), "random_state": lambda: hostile.seed(rng)}

    def call(**keywords):
        return copy.deepcopy(_codebook()).add(**keywords).words

    return Case(call, one_hostile(rng, {"n_new": 2, "random_state": 0}, makers), _signs_check)


@functools.cache
def _codebook():
    return center_functions.NestedCodebook(4, 16, prefixes=(8,), random_state=0)


# --- skhash.neighbors

_N_STORED = 12


def _rows_of(codes, n_neighbors, queries):
    """Find the nearest codes by a stable sort of all distances."""
    distances = (bits_of(queries)[:, None] != bits_of(codes)).sum(axis=2).astype(np.int32)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    return np.take_along_axis(distances, rows, axis=1), rows


@functools.cache
def _stored():
    return np.random.default_rng(0).integers(256, size=(_N_STORED, 2), dtype=np.uint8)


@functools.cache
def _search(algorithm="auto"):
    search = HammingNearestNeighbors(3, algorithm=algorithm)
    return search.fit(_stored(), np.arange(_N_STORED) % 3, ids=np.arange(_N_STORED) * 10)


def _where(rng):
    mask = hostile.numpy_rng(rng).random(_N_STORED) < 0.8
    mask[:5] = True
    ids = 10 * np.flatnonzero(mask)
    kind = rng.choice(["mask", "ids", "odd", "wrong ids", "wrong masks"])
    if kind == "mask":
        return rng.choice([hostile.in_other_memory, hostile.in_a_container])(rng, mask)
    if kind == "ids":
        return Argument(ids.astype(rng.choice(hostile.INTEGERS[1:4])), ids, "equal", "ids of a dtype")
    if kind == "odd":
        made = hostile.no_matrix(rng)
        # None is no restriction, and no ids leave nothing.
        is_empty = isinstance(made.value, (list, dict, set)) and not made.value
        allowed = made.value is None or is_empty or made.text in ("empty list", "scalar")
        return Argument(made.value, None, EITHER if allowed else REFUSED, made.text)
    if kind == "wrong ids":
        return Argument(
            rng.choice([[1, 2, 3, 4], [-10], [2**63], [2**64], [0, 0], [10**400], ids + 0.0, [True, False], ids + 0j,
                        ids.astype("U4"), ids[:, None], 1e300, np.ma.array(ids, mask=ids == 0), ids.astype(object)]),
            None, EITHER, "wrong ids",
        )  # fmt: skip
    return Argument(
        rng.choice([mask[:-1], mask[:, None], mask.astype(np.int8), mask.astype(float), np.append(mask, True), mask[:0],
                    np.ma.array(mask, mask=mask), mask.astype(object)]),
        None, REFUSED, "wrong masks",
    )  # fmt: skip


def _search_entry(method, arguments, makers_of, check):
    @entry(f"skhash.HammingNearestNeighbors.{method}", _SEARCH)
    def make(rng):
        search = _search(rng.choice(["auto", "auto", "brute", "mih"]))
        if rng.random() < 0.03:
            search = HammingNearestNeighbors()
            return Case(
                getattr(search, method), {"codes": Argument(_stored(), None, REFUSED, "not fitted")}, any_result
            )
        made = one_hostile(rng, {"codes": _codes_of(rng, 4, 2), **arguments}, makers_of(rng))
        if made["codes"].value is None:
            made["codes"] = plain(None)
        return Case(getattr(search, method), made, check, text=f"algorithm={search.algorithm}")


def _neighbors_check(result, values):
    distances, ids = result
    if distances.dtype != np.int32 or ids.dtype != np.int64 or distances.shape != ids.shape:
        return f"returned {result!r}, no distances and ids"
    if values is not None and values["where"] is None and values["codes"] is not None:
        n_neighbors = 3 if values["n_neighbors"] is None else values["n_neighbors"]
        expected, rows = _rows_of(_stored(), n_neighbors, values["codes"])
        if not (same(distances, expected) and same(ids, 10 * rows)):
            return f"returned {result!r}, a stable sort gives {expected!r}, {10 * rows!r}"
    return None


_search_entry(
    "kneighbors",
    {"n_neighbors": 3, "where": None},
    lambda rng: {
        "codes": lambda: hostile.codes(rng, 4, 2),
        "n_neighbors": lambda: hostile.count(rng, 3, none=True),
        "where": lambda: _where(rng),
    },
    _neighbors_check,
)


def _radius(rng):
    made = hostile.count(rng, 3, none=True)
    if isinstance(made.value, (int, float, np.number)) and not isinstance(made.value, bool):
        # Real numbers are right here, those above the code length too.
        return Argument(made.value, None, EITHER, made.text) if not made.plain else made
    return made if made.verdict != REFUSED else Argument(made.value, None, EITHER, made.text)


def _radius_check(result, values):
    distances, ids = result
    if distances.dtype != object or len(distances) != len(ids) or any(part.dtype != np.int32 for part in distances):
        return f"returned {result!r}, no arrays of distances"
    if (
        values is not None
        and values["where"] is None
        and values["codes"] is not None
        and values["sort_results"] is True
    ):
        every, rows = _rows_of(_stored(), None, values["codes"])
        for query, radius_rows in enumerate(rows):
            if not same(
                ids[query], 10 * radius_rows[every[query] <= (2 if values["radius"] is None else values["radius"])]
            ):
                return f"query {query}: returned {ids[query]!r}"
    return None


_search_entry(
    "radius_neighbors",
    {"radius": 3, "where": None, "sort_results": True},
    lambda rng: {
        "codes": lambda: hostile.codes(rng, 4, 2),
        "radius": lambda: _radius(rng),
        "where": lambda: _where(rng),
    },
    _radius_check,
)


def _graph_check(result, values):
    if not sparse.isspmatrix_csr(result) or result.dtype != np.float64 or result.shape[1] != _N_STORED:
        return f"returned {result!r}, no graph"
    return None


_search_entry(
    "kneighbors_graph",
    {"n_neighbors": 3, "mode": "distance"},
    lambda rng: {
        "codes": lambda: hostile.codes(rng, 4, 2),
        "n_neighbors": lambda: hostile.count(rng, 3, none=True),
        "mode": lambda: hostile.option(rng, "distance"),
    },
    _graph_check,
)
_search_entry(
    "radius_neighbors_graph",
    {"radius": 3, "mode": "distance"},
    lambda rng: {
        "codes": lambda: hostile.codes(rng, 4, 2),
        "radius": lambda: _radius(rng),
        "mode": lambda: hostile.option(rng, "distance"),
    },
    _graph_check,
)
_search_entry(
    "score",
    {"y": [0, 1, 2, 0]},
    lambda rng: {"codes": lambda: hostile.codes(rng, 4, 2), "y": lambda: hostile.labels(rng, 4)},
    _score_check,
)


def _ids(rng, n):
    good = np.arange(n) + 1000
    kind = rng.choice(["dtype", "layout", "container", "wrong", "odd"])
    if kind == "dtype":
        return Argument(
            good.astype(rng.choice([np.int16, np.int32, np.uint16, np.uint64])), good, "equal", "ids of a dtype"
        )
    if kind == "layout":
        return hostile.in_other_memory(rng, good)
    if kind == "container":
        return hostile.in_a_container(rng, good)
    if kind == "odd":
        return hostile.no_matrix(rng)
    wrong = [
        good[:-1], good * 0, good + 0.5, good.astype(np.float64), good > 0, good + 0j, good.astype("U5"), good[:, None],
        good.astype(np.uint64) + np.uint64(2**63), [2**64] * n, [10**400] * n, [None] * n, good.astype("datetime64[s]"),
        np.ma.array(good, mask=good > 0), np.append(good, 1), good[0], good.astype("S5"),
    ]  # fmt: skip
    return Argument(rng.choice(wrong), None, REFUSED, "wrong ids")


def _state(search):
    labels, numbers = None, {}
    if search.labels_ is not None:
        # Labels keep the dtype they came in, so that only what is equal is compared.
        labels = [
            numbers.setdefault(tuple(label) if isinstance(label, list) else label, len(numbers))
            for label in search.labels_.tolist()
        ]
    return search.codes_, labels, search.ids_, search.n_samples_fit_


def _unchanged_if_refused(estimator, state_of, change):
    """Call a change, and return the state after it; if it is refused, everything has to be as before."""
    before = state_of(estimator)
    try:
        change()
    except BaseException:
        if not same(before, state_of(estimator)):
            raise AssertionError("a refused change left traces") from None
        raise
    return state_of(estimator)


def _state_check(result, values):
    codes, _, ids, n_samples = result
    if codes.dtype != np.uint8 or ids.dtype != np.int64 or not len(codes) == len(ids) == n_samples:
        return f"holds {result!r}"
    return None


@entry("skhash.HammingNearestNeighbors.fit", _SEARCH)
def _fit_search(rng):
    makers = {
        "codes": lambda: hostile.codes(rng, 6, 2),
        "y": lambda: hostile.labels(rng, 6),
        "ids": lambda: _ids(rng, 6),
    }
    arguments = {"codes": _codes_of(rng, 6, 2), "y": np.arange(6) % 3, "ids": np.arange(6)}
    made = one_hostile(rng, arguments, makers)
    for name in ("y", "ids"):
        if made[name].value is None:
            made[name] = plain(None)
    return Case(lambda **given: _state(HammingNearestNeighbors().fit(**given)), made, _state_check)


@entry("skhash.HammingNearestNeighbors.__init__", _SMALL)
def _search_parameters(rng):
    name = rng.choice(["n_neighbors", "radius", "algorithm", "n_jobs"])
    makers = {"value": lambda: hostile.parameter(rng, huge=name != "n_jobs")}

    def call(value):
        search = HammingNearestNeighbors(**{name: value}).fit(_stored())
        return search.kneighbors(_stored()[:2]), search.radius_neighbors(_stored()[:2])

    return Case(call, one_hostile(rng, {"value": None}, makers), any_result, text=name)


@entry("skhash.HammingNearestNeighbors.add", _SEARCH)
def _add(rng):
    makers = {
        "codes": lambda: hostile.codes(rng, 6, 2),
        "y": lambda: hostile.labels(rng, 6),
        "ids": lambda: _ids(rng, 6),
    }
    made = one_hostile(rng, {"codes": _codes_of(rng, 6, 2), "y": np.arange(6) % 3, "ids": np.arange(6) + 1000}, makers)

    def call(**given):
        search = copy.copy(_search())
        return _unchanged_if_refused(search, _state, lambda: search.add(**given))

    return Case(call, made, _state_check)


@entry("skhash.HammingNearestNeighbors.remove", _SEARCH)
def _remove(rng):
    good = np.array([0, 30, 70])
    kind = rng.choice(["dtype", "layout", "container", "wrong", "odd"])
    if kind == "dtype":
        argument = Argument(good.astype(rng.choice(hostile.INTEGERS)), good, "equal", "ids of a dtype")
    elif kind == "layout":
        argument = hostile.in_other_memory(rng, good)
    elif kind == "container":
        argument = hostile.in_a_container(rng, good)
    elif kind == "odd":
        argument = hostile.no_matrix(rng)
        if argument.text in ("empty list", "scalar", "odd object"):
            argument = Argument(argument.value, None, EITHER, argument.text)
    else:
        value = rng.choice(
            [[1], [0, 0], [-10], [2**63], [2**64], [10**400], [0.0], [True], good + 0.5, good.astype("U3"), good + 0j,
             good[:, None], [None], good.astype("datetime64[s]"), np.ma.array(good, mask=good > 0), "0", good > 0,
             np.uint64(2**64 - 1)]
        )  # fmt: skip
        argument = Argument(value, None, REFUSED, "wrong ids")

    def call(ids):
        search = copy.copy(_search())
        return _unchanged_if_refused(search, _state, lambda: search.remove(ids))

    return Case(call, {"ids": argument}, _state_check)


@entry("skhash.HammingNearestNeighborsTransformer.fit", _SMALL)
def _fit_transformer(rng):
    name = rng.choice(["codes", "n_neighbors", "mode", "radius", "n_jobs"])
    arguments = {"codes": plain(_stored()), "value": plain(2)}
    if name == "codes":
        arguments["codes"] = hostile.codes(rng, _N_STORED, 2)
    elif name in ("mode", "n_jobs", "radius"):
        arguments["value"] = hostile.parameter(rng, huge=name == "radius")
    else:
        arguments["value"] = hostile.count(rng, 3)

    def call(codes, value):
        parameters = {} if name == "codes" else {name: value}
        transformer = HammingNearestNeighborsTransformer(**parameters).fit(codes)
        return transformer.transform(_stored())

    return Case(call, arguments, _graph_check, text=name)


@entry("skhash.HammingNearestNeighborsTransformer.transform", _SMALL)
def _transform_codes(rng):
    transformer = HammingNearestNeighborsTransformer(2).fit(_stored())
    # scikit-learn calls the first argument X, whatever its name.
    return Case(lambda codes: transformer.transform(codes), {"codes": hostile.codes(rng, 4, 2)}, _graph_check)


def _shortlist(rng, good):
    kind = rng.choice(["dtype", "layout", "container", "wrong", "odd"])
    if kind == "dtype":
        return Argument(good.astype(rng.choice(hostile.INTEGERS)), good, "equal", "shortlist of a dtype")
    if kind == "layout":
        return hostile.in_other_memory(rng, good)
    if kind == "container":
        return hostile.in_a_container(rng, good)
    if kind == "odd":
        return hostile.no_matrix(rng)
    held = good.copy()
    held[0, 0] = rng.choice([-1, 12, 2**40, -(2**63)])
    wrong = [held, good + 0.0, good > 0, good.astype("U2"), good + 0j, good[:-1], good[0], good[:, :0], good[..., None],
             good.astype(np.uint64) + np.uint64(2**63), np.ma.array(good, mask=good > 0),
             good.astype(object) * 10**30]  # fmt: skip
    return Argument(rng.choice(wrong), None, REFUSED, "wrong shortlist")


def _reranked_check(result, values):
    distances, rows = result
    if distances.dtype != np.float64 or rows.dtype != np.int64 or distances.shape != rows.shape:
        return f"returned {result!r}"
    if (np.diff(distances, axis=1) < 0).any() or np.isnan(distances).any():
        return f"distances do not rise: {distances!r}"
    return None


def _rerank_entry(name, queries, database, makers_of):
    function = getattr(neighbors, name)

    @entry(f"skhash.neighbors.{name}", _METRIC)
    def make(rng):
        shortlist = np.array([[0, 5, 3], [11, 2, 7]])
        names = list(function.__annotations__)[:2]
        arguments = {names[0]: queries(rng), names[1]: database(rng), "shortlist": shortlist, "n_neighbors": 2}
        makers = {
            **dict(zip(names, makers_of(rng), strict=True)),
            "shortlist": lambda: _shortlist(rng, shortlist),
            "n_neighbors": lambda: hostile.count(rng, 2, none=True),
        }
        return Case(function, one_hostile(rng, arguments, makers), _reranked_check)


def _dense(argument):
    """Refuse sparse matrices, which only some estimators take."""
    if argument.text.startswith("sparse"):
        return Argument(argument.value, None, REFUSED, argument.text)
    return argument


def _of_database(argument):
    """Take a row beside the shortlist as it is, as only candidates are read."""
    argument = _dense(argument)
    if argument.text.startswith("dtype"):
        # Queries are rounded to float32 for integers.
        return Argument(
            argument.value, np.array(argument.value, argument.value.dtype.newbyteorder("=")), "equal", argument.text
        )
    is_beside = argument.text in ("not a number", "infinity", "longdouble beyond float64", "no rows")
    return Argument(argument.value, None, EITHER, argument.text) if is_beside else argument


_rerank_entry(
    "rerank_asymmetric",
    lambda rng: hostile.numpy_rng(rng).standard_normal((2, 16)),
    lambda rng: _codes_of(rng, 12, 2),
    lambda rng: (lambda: _dense(hostile.features(rng, 2, 16)), lambda: hostile.codes(rng, 12, 2)),
)
_rerank_entry(
    "rerank_float",
    lambda rng: hostile.numpy_rng(rng).standard_normal((2, 3)),
    lambda rng: hostile.numpy_rng(rng).standard_normal((12, 3)),
    lambda rng: (lambda: _dense(hostile.features(rng, 2, 3)), lambda: _of_database(hostile.features(rng, 12, 3))),
)
_rerank_entry(
    "rerank_spherical",
    lambda rng: _codes_of(rng, 2, 2),
    lambda rng: _codes_of(rng, 12, 2),
    lambda rng: (lambda: hostile.codes(rng, 2, 2), lambda: hostile.codes(rng, 12, 2)),
)


@entry("skhash.neighbors.spherical_neighbors", _METRIC)
def _spherical_neighbors(rng):
    makers = {
        "query_codes": lambda: hostile.codes(rng, 3, 2),
        "database_codes": lambda: hostile.codes(rng, 9, 2),
        "n_neighbors": lambda: hostile.count(rng, 4),
    }
    arguments = {"query_codes": _codes_of(rng, 3, 2), "database_codes": _codes_of(rng, 9, 2), "n_neighbors": 4}
    return Case(neighbors.spherical_neighbors, one_hostile(rng, arguments, makers), _reranked_check)


# --- Hashers

_N_TRAIN, _N_FEATURES, _N_NEW = 30, 5, 6


@functools.cache
def _train():
    return np.random.default_rng(1).integers(-8, 9, size=(_N_TRAIN, _N_FEATURES)).astype(np.float64)


def _train_labels():
    return np.arange(_N_TRAIN) % 3


@functools.cache
def _fitted(name, number):
    return clone(SMALL_INSTANCES[HASHERS_TO_TRY[name]][number]).fit(_train(), _train_labels())


def _is_supervised(hasher):
    return hasher.__sklearn_tags__().target_tags.required


def _probe(hasher):
    """Hash a few rows, so that hashers can be compared."""
    codes, projections = hasher.transform(_train()[:_N_NEW]), hasher.project(_train()[:_N_NEW])
    if codes.dtype != np.uint8 or codes.shape != (_N_NEW, -(-hasher.n_bits_ // 8)):
        raise AssertionError(f"codes of dtype {codes.dtype} and shape {codes.shape}")
    if projections.shape != (_N_NEW, hasher.n_bits_) or not np.isfinite(projections).all():
        raise AssertionError(f"projections of dtype {projections.dtype} and shape {projections.shape}")
    return codes, projections


HASHERS_TO_TRY = {name: cls for name, cls in HASHERS.items() if not name.startswith("Deep")}
_DEEP = {name: cls for name, cls in HASHERS.items() if name.startswith("Deep")}
HASHERS_TO_TRY.update(_DEEP)


_SLOW = {*_DEEP, "AnchorGraphHash", "InductiveManifoldHash", "SketchingHash", "NestedHash", "DiscriminantITQ"}


def _hasher_entries(name, number, template):
    share_of_fits = _SLOW_FIT if name in _SLOW else _FIT
    prefix = f"skhash.{name}"
    label = f"[{number}]" if number else ""

    @entry(f"{prefix}.transform{label}", _SMALL)
    def make_transform(rng):
        return Case(
            lambda X: _fitted(name, number).transform(X),
            {"X": hostile.features(rng, _N_NEW, _N_FEATURES)},
            lambda result, values: has(np.uint8, ndim=2)(result, values),
        )

    @entry(f"{prefix}.project{label}", _SMALL // 2)
    def make_project(rng):
        return Case(
            lambda X: _fitted(name, number).project(X),
            {"X": hostile.features(rng, _N_NEW, _N_FEATURES)},
            lambda result, values: None if result.dtype in (np.float32, np.float64) else f"dtype {result.dtype}",
        )

    @entry(f"{prefix}.fit{label}", share_of_fits)
    def make_fit(rng):
        arguments, makers = {"X": _train()}, {"X": lambda: hostile.features(rng, _N_TRAIN, _N_FEATURES)}
        if _is_supervised(template):
            arguments["y"], makers["y"] = _train_labels(), lambda: hostile.labels(rng, _N_TRAIN)
        return Case(
            lambda **given: _probe(clone(template).fit(**given)), one_hostile(rng, arguments, makers), any_result
        )

    @entry(f"{prefix}.__init__{label}", share_of_fits)
    def make_parameters(rng):
        parameter = rng.choice(sorted(template.get_params(deep=False)))
        # Numbers of rounds may be as large as the caller has time.
        huge = not any(word in parameter for word in ("iter", "epochs", "jobs", "patience", "stopping", "threads"))

        def call(value):
            hasher = clone(template).set_params(**{parameter: value})
            # Some strings are folders for checkpoints.
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                hasher.fit(_train(), _train_labels())
            return _probe(hasher)

        argument = hostile.seed(rng) if parameter == "random_state" else hostile.parameter(rng, huge=huge)
        return Case(call, {"value": argument}, any_result, text=parameter)

    if hasattr(template, "partial_fit"):

        @entry(f"{prefix}.partial_fit{label}", share_of_fits)
        def make_partial_fit(rng):
            arguments, makers = {"X": _train()}, {"X": lambda: hostile.features(rng, _N_TRAIN, _N_FEATURES)}
            if _is_supervised(template):
                arguments["y"], makers["y"] = _train_labels(), lambda: hostile.labels(rng, _N_TRAIN)

            def call(**given):
                hasher = copy.deepcopy(_fitted(name, number))
                return _unchanged_if_refused(hasher, _probe, lambda: hasher.partial_fit(**given))

            return Case(call, one_hostile(rng, arguments, makers), any_result)


for _name, _cls in HASHERS_TO_TRY.items():
    for _number, _template in enumerate(SMALL_INSTANCES[_cls]):
        _hasher_entries(_name, _number, _template)


@entry("skhash.NestedHash.add_classes", _FIT)
def _add_classes(rng):
    makers = {
        "X": lambda: hostile.features(rng, _N_TRAIN, _N_FEATURES),
        "y": lambda: hostile.labels(rng, _N_TRAIN, 4),
    }

    def call(**given):
        hasher = copy.deepcopy(_fitted("NestedHash", 1))
        return _probe(hasher.add_classes(**given))

    return Case(call, one_hostile(rng, {"X": _train(), "y": np.arange(_N_TRAIN) % 4}, makers), any_result)


@entry("skhash.NestedHash.prefix", _SMALL)
def _prefix(rng):
    hasher = _fitted("NestedHash", 1)
    return Case(lambda n_bits: _probe(hasher.prefix(n_bits)), {"n_bits": hostile.count(rng, 5)}, any_result)


# --- Pipelines

_PIPELINES = [{}, {"rescore": "asymmetric", "n_candidates": 5}, {"rescore": "float", "n_candidates": 5}]


@functools.cache
def _pipeline(number):
    return _new_pipeline(number).fit(_train(), _train_labels(), search__ids=10 * np.arange(_N_TRAIN))


def _new_pipeline(number):
    steps = [("hash", skhash.LSH(12, random_state=0)), ("search", HammingNearestNeighbors(3))]
    return RetrievalPipeline(steps, **_PIPELINES[number])


def _found_check(result, values):
    distances, ids = result
    dtypes = [np.dtype(np.int32), np.dtype(np.float64)]
    if distances.dtype not in dtypes or ids.dtype != np.int64 or distances.shape != ids.shape:
        return f"returned {result!r}"
    return None


@entry("skhash.RetrievalPipeline.kneighbors", _SEARCH)
def _pipeline_kneighbors(rng):
    number = rng.randrange(3)
    makers = {
        "X": lambda: hostile.features(rng, _N_NEW, _N_FEATURES),
        "n_neighbors": lambda: hostile.count(rng, 3, none=True),
        "where": lambda: _pipeline_where(rng),
    }
    made = one_hostile(rng, {"X": _train()[:_N_NEW], "n_neighbors": 3, "where": None}, makers)
    if made["X"].value is None:
        made["X"] = plain(None)
    return Case(lambda **given: _pipeline(number).kneighbors(**given), made, _found_check, text=f"{_PIPELINES[number]}")


def _pipeline_where(rng):
    made = _where(rng)
    # The masks are of another length.
    return Argument(made.value, None, EITHER, made.text)


@entry("skhash.RetrievalPipeline.radius_neighbors", _SEARCH)
def _pipeline_radius_neighbors(rng):
    number = rng.randrange(3)
    makers = {
        "X": lambda: hostile.features(rng, _N_NEW, _N_FEATURES),
        "radius": lambda: _radius(rng),
        "where": lambda: _pipeline_where(rng),
    }
    made = one_hostile(rng, {"X": _train()[:_N_NEW], "radius": 3, "where": None}, makers)
    if made["X"].value is None:
        made["X"] = plain(None)
    return Case(
        lambda **given: _pipeline(number).radius_neighbors(**given), made, any_result, text=f"{_PIPELINES[number]}"
    )


def _pipeline_state(pipeline):
    kept = pipeline.features_[np.arange(len(pipeline.features_))] if hasattr(pipeline, "_kept_features") else None
    return (*_state(pipeline[-1]), kept)


@entry("skhash.RetrievalPipeline.fit", _SEARCH)
def _pipeline_fit(rng):
    number = rng.randrange(3)
    makers = {
        "X": lambda: hostile.features(rng, _N_TRAIN, _N_FEATURES),
        "y": lambda: hostile.labels(rng, _N_TRAIN),
        "search__ids": lambda: _ids(rng, _N_TRAIN),
    }
    made = one_hostile(rng, {"X": _train(), "y": _train_labels(), "search__ids": np.arange(_N_TRAIN)}, makers)
    for name in ("y", "search__ids"):
        if made[name].value is None:
            made[name] = plain(None)
    return Case(
        lambda **given: _pipeline_state(_new_pipeline(number).fit(**given)),
        made,
        any_result,
        text=f"{_PIPELINES[number]}",
    )


@entry("skhash.RetrievalPipeline.add", _SEARCH)
def _pipeline_add(rng):
    number = rng.randrange(3)
    makers = {
        "X": lambda: hostile.features(rng, _N_NEW, _N_FEATURES),
        "y": lambda: hostile.labels(rng, _N_NEW),
        "ids": lambda: _ids(rng, _N_NEW),
    }
    made = one_hostile(
        rng, {"X": _train()[:_N_NEW], "y": np.arange(_N_NEW) % 3, "ids": np.arange(_N_NEW) + 1000}, makers
    )

    def call(**given):
        pipeline = copy.deepcopy(_pipeline(number))
        return _unchanged_if_refused(pipeline, _pipeline_state, lambda: pipeline.add(**given))

    return Case(call, made, any_result, text=f"{_PIPELINES[number]}")


@entry("skhash.RetrievalPipeline.remove", _SMALL)
def _pipeline_remove(rng):
    number = rng.randrange(3)
    argument = _remove(rng).arguments["ids"]

    def call(ids):
        pipeline = copy.deepcopy(_pipeline(number))
        pipeline.remove(ids)
        return _pipeline_state(pipeline)

    return Case(call, {"ids": argument}, any_result, text=f"{_PIPELINES[number]}")


@entry("skhash.RetrievalPipeline.__init__", _SMALL)
def _pipeline_parameters(rng):
    name = rng.choice(["rescore", "n_candidates", "steps"])
    if name == "steps":
        search, hasher = ("search", HammingNearestNeighbors()), ("hash", skhash.LSH(8, random_state=0))
        value = rng.choice(
            [None, [], [search], [search, hasher], [hasher], (hasher, search), [("hash", None), search], [hasher,
             search, search],
             {}, "text", [1], [("a", object()), search], [("a__b", skhash.LSH(8)), search], [hasher, ("search",
             "passthrough")],
             [("hash", "passthrough"), search], [hasher, ("search", HammingNearestNeighborsTransformer(2))],
              [("hash",)]]
        )  # fmt: skip
        argument = Argument(value, None, EITHER, f"steps={value!r:.60}")
    else:
        argument = hostile.parameter(rng, huge=True)

    def call(value):
        pipeline = _new_pipeline(0)
        # A pipeline puts fitted steps into its list.
        setattr(pipeline, name, list(value) if isinstance(value, list) else value)
        return pipeline.fit(_train(), _train_labels()).kneighbors(_train()[:2], n_neighbors=2)

    # Pipelines without a search have no such method, and say so as scikit-learn's own do.
    allowed = (AttributeError,) if name == "steps" else ()
    return Case(call, {"value": argument}, any_result, allowed, text=name)


# --- Images


def _images(rng):
    images = hostile.numpy_rng(rng).integers(256, size=(3, 6, 5, rng.choice([1, 3])), dtype=np.uint8)
    kind = rng.choice(
        ["layout", "layout", "dtype", "shape", "list", "odd items", "odd", "paths", "masked", "equal rows"]
    )
    if kind == "layout":
        return hostile.in_other_memory(rng, images)
    if kind == "equal rows":
        return hostile.with_equal_rows(rng, images)
    if kind == "dtype":
        dtype = rng.choice(
            [*hostile.INTEGERS[:4], *hostile.INTEGERS[5:], *hostile.FLOATS, bool, complex, "U3", "S3", "M8[s]"]
        )
        return Argument(images.astype(dtype), None, REFUSED, f"images of dtype {dtype}")
    if kind == "masked":
        return Argument(np.ma.array(images, mask=images > 100), None, REFUSED, "masked images")
    if kind == "shape":
        value = rng.choice(
            [images[0, 0], images[0, 0, 0, 0], images[..., None], images[:0], images[:, :0], images[:, :, :0],
             images[..., :0],
             np.concatenate([images, images], axis=3), images.transpose(0, 3, 1, 2)]
        )  # fmt: skip
        return Argument(value, None, EITHER, f"images of shape {value.shape}")
    if kind == "list":
        make = rng.choice([list, tuple, hostile._objects_of_images])
        return Argument(make(images), images, EITHER, "sequence of images")
    if kind == "paths":
        return Argument([_paths(rng).value, _paths(rng).value], None, REFUSED, "paths")
    if kind == "odd items":
        items = [images[0], rng.choice([*hostile.ODD_OBJECTS, images[0].astype(float), images[0][:0]])]
        return Argument(items, None, REFUSED, f"images with {items[1]!r:.40}")
    return hostile.no_matrix(rng)


@entry("skhash.PixelFeatures.fit_transform", _METRIC)
def _pixel_features(rng):
    name = rng.choice(["X", "X", "X", "image_size", "color", "n_jobs", "on_error"])
    arguments = {"X": plain(np.zeros((2, 4, 4), dtype=np.uint8)), "value": plain(None)}
    if name == "X":
        arguments["X"] = _images(rng)
    else:
        arguments["value"] = hostile.parameter(rng, huge=name == "image_size")

    def call(X, value):
        return PixelFeatures(**{"image_size": 4, **({} if name == "X" else {name: value})}).fit_transform(X)

    return Case(call, arguments, has(np.float32, ndim=2), text=name)


@entry("skhash.features.find_unreadable_images", _SMALL)
def _find_unreadable_images(rng):
    makers = {"X": lambda: _images(rng), "n_jobs": lambda: hostile.parameter(rng, huge=False)}
    made = one_hostile(rng, {"X": np.zeros((2, 4, 4), dtype=np.uint8), "n_jobs": None}, makers)
    if made["X"].text in ("paths", "list of strings") or (
        made["X"].text.startswith("images with") and isinstance(made["X"].value[1], str)
    ):
        # Such images are what it looks for.
        made["X"] = Argument(made["X"].value, None, EITHER, "paths")
    return Case(find_unreadable_images, made, lambda result, values: None if isinstance(result, list) else "no list")


if HAS_TORCH:
    from skhash.deep import adversarial

    @entry("skhash.deep.adversarial.center_codes", _METRIC)
    def _center_codes(rng):
        makers = {
            "query_labels": lambda: hostile.labels(rng, _N_QUERIES),
            "database_codes": lambda: hostile.codes(rng, _N_DATABASE, 1),
            "database_labels": lambda: hostile.labels(rng, _N_DATABASE),
        }
        arguments = {
            "query_labels": np.arange(_N_QUERIES) % 3,
            "database_codes": _codes_of(rng, _N_DATABASE, 1),
            "database_labels": np.arange(_N_DATABASE) % 3,
            "n_bits": 8,
        }
        makers["n_bits"] = lambda: hostile.count(rng, 8)
        made = one_hostile(rng, arguments, makers)
        kinds = ("empty list", "list of strings", "odd object", "labels, empty", "labels, short", "labels, long")
        if made["query_labels"].text in kinds:
            # Any number of queries will do, of any classes.
            made["query_labels"] = Argument(made["query_labels"].value, None, EITHER, made["query_labels"].text)
        return Case(adversarial.center_codes, made, any_result)

    @entry("skhash.deep.adversarial.attack_queries", 10)
    def _attack_queries(rng):
        makers = {
            "X": lambda: hostile.features(rng, _N_NEW, _N_FEATURES),
            "scale": lambda: hostile.parameter(rng, huge=False),
        }
        made = one_hostile(rng, {"X": _train()[:_N_NEW], "scale": np.ones(_N_FEATURES), "random_state": 0}, makers)
        hasher = _fitted("DeepSupervisedHasher", 0)
        return Case(functools.partial(adversarial.attack_queries, hasher), made, has(np.float32, ndim=2))


# What is public and has no entry, with the reason.
_MODULES = "a part of a network, which takes the tensors of a training"
_FILES = "files and their exchange, which damaged files are tried on"
WITHOUT_ENTRIES = {
    "skhash.load": _FILES,
    "skhash.save": _FILES,
    "skhash.CNNFeatures": "images go through the checks of PixelFeatures, and a network of 17 MB",
    "skhash.metrics.RetrievalScoringError": "an exception",
    "skhash.features.UnreadableImage": "a record of results",
    "skhash.inspection.PrecisionRecallDisplay": "draws what metrics computed",
    "skhash.inspection.RetrievalGalleryDisplay": "draws images and results",
    "skhash.deep.adversarial.ProjectedGradient": "settings of a training",
    "skhash.deep.adversarial.adversarial_loss": _MODULES,
    "skhash.deep.adversarial.attacked_mean_average_precision": "attack_queries, then mean_average_precision",
    "skhash.deep.semi_supervised.MeanTeacher": "settings of a training",
    "skhash.deep.semi_supervised.AveragedTeacher": _MODULES,
}
_TENSORS = ("augmentation", "losses", "networks", "quantizers", "regularizers")
MODULES_WITHOUT_ENTRIES = {"skhash.persistence": _FILES, **{f"skhash.deep.{name}": _MODULES for name in _TENSORS}}
