"""The methods that `retrieval.py` compares, and the settings that are tried of each.

Settings come in stages: each of a stage changes the best one of the stages before. The first of all is the default. A
budget counts settings, and cuts the stages off where it ends.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from deep_cifar10 import LEARNING_RATES, MAIN_WEIGHTS
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skhash
from skhash.codes import pack_bits
from skhash.metrics import average_precision_from_distances, mean_average_precision

# A network sees about as many rows in a training, whatever the number of training rows, in these numbers of epochs.
ROWS_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 40_000, 8, 30

# Query rows whose distances are sorted together.
_BLOCK_QUERIES = 50


def _ridges(name, *values):
    return tuple({name: value} for value in values)


# By the name of the class. A hasher that is not listed has its default settings only.
STAGES = {
    "AnchorGraphHash": (({}, {"n_layers": 2}), ({"n_anchors": 600}, {"n_anchors": 150}), ({"n_nearest": 4},)),
    "CCAITQ": (_ridges("ridge", 1.0, 10.0, 0.1, 100.0, 3.0, 0.3),),
    "CirculantHash": (_ridges("orthogonality_weight", 1.0, 10.0, 0.1, 100.0), ({"learned": False},)),
    "ColumnSampledHash": (
        ({}, {"ridge": 10.0}, {"ridge": 0.1}, {"classifier": "kernel"}, {"classifier": "kernel", "ridge": 0.1}),
        ({"max_iter": 20},),
    ),
    "DiscriminantITQ": (_ridges("ridge", 1.0, 3.0, 0.3, 10.0, 0.1, 30.0),),
    "InductiveManifoldHash": (({}, {"n_nearest": 10}), ({"n_anchors": 800}, {"n_anchors": 200}), ({"n_nearest": 3},)),
    "KMeansHash": (({}, {"bits_per_subspace": 2}), ({"affinity_weight": 1.0}, {"affinity_weight": 100.0})),
    "KernelSupervisedHash": (_ridges("ridge", 0.1, 1.0, 0.01, 10.0), ({"n_anchors": 600}, {"n_anchors": 1000})),
    "LDAHash": (_ridges("shrinkage", 1.0, 10.0, 0.1, 100.0, 3.0, 0.3),),
    "LSH": (({}, {"orthogonal": True}),),
    "MutualInformationHash": (_ridges("learning_rate", 10.0, 1.0, 100.0), ({"max_iter": 5}, {"slope": 30.0})),
    "OnlineHadamardHash": (_ridges("learning_rate", 0.2, 0.05, 0.01, 0.5), ({"max_iter": 5}, {"batch_size": 10})),
    "ShiftInvariantKernelLSH": (_ridges("kernel_width", None, 10.0, 30.0, 3.0),),
    "SketchingHash": (({}, {"rotation": "random"}), ({"sketch_size": 512},)),
    "SupervisedDiscreteHash": (
        _ridges("ridge", 0.01, 0.1, 0.001, 1.0),
        ({"fit_weight": 1e-3},),
        ({"n_anchors": 500},),
    ),
}

# Hashers with labels that make something of rows without; the others with labels leave these rows out.
USES_UNLABELLED = {
    "ColumnSampledHash",
    "KernelSupervisedHash",
    "MutualInformationHash",
    "NestedHash",
    "OnlineHadamardHash",
    "SupervisedDiscreteHash",
}

DEFAULT_LOSSES = ("orthohash", "csq", "hashnet", "greedyhash", "adsh", "dfh", "mdsh", "bihalf", "ce")
DEFAULT_METHODS = (
    "NestedHash",
    "DiscriminantITQ",
    "CCAITQ",
    "LDAHash",
    "KernelSupervisedHash",
    "SupervisedDiscreteHash",
    "ColumnSampledHash",
    "one-hot",
    "cosine",
    "ITQ",
    "PCAH-random",
    "LSH",
    *(f"deep:{loss}" for loss in DEFAULT_LOSSES),
)


class OneHotClassifier:
    """The classes that a logistic regression predicts, as codes with a single 1."""

    def __init__(self, C):
        self.C = C

    def fit(self, X, y):
        classifier = LogisticRegression(C=self.C, max_iter=300, tol=1e-3)
        self.classifier_ = make_pipeline(StandardScaler(), classifier).fit(X, y)
        self.classes_ = self.classifier_.classes_
        return self

    def transform(self, X):
        return pack_bits(self.classifier_.predict(X)[:, None] == self.classes_)


class CentredCosine:
    """The cosine of features less their mean: no codes, for orientation."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
        return self

    def average_precisions(self, queries, database, query_labels, database_labels):
        queries, database = self._unit(queries), self._unit(database)
        parts = [
            average_precision_from_distances(
                1 - queries[rows : rows + _BLOCK_QUERIES] @ database.T,
                query_labels[rows : rows + _BLOCK_QUERIES, None] == database_labels,
            )
            for rows in range(0, len(queries), _BLOCK_QUERIES)
        ]
        return np.concatenate(parts)

    def _unit(self, X):
        centred = X - self.mean_
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(X.dtype).tiny)


@dataclass(frozen=True)
class Method:
    """A row of the table: how a model is made, and what is tried.

    Attributes
    ----------
    make : callable
        Takes `n_bits`, the seed, a setting and the number of training rows, and returns a hasher to be fitted.
    stages : tuple of tuple of dict
        What is tried.
    lengths : {"each", "prefixes", "none"}
        Whether there is a model for each code length, one for all, or codes have a length of their own.
    labels : {"none", "own rows", "all rows"}
        Whether no labels are needed, rows without one are left out, or something is made of these.
    """

    name: str
    make: Callable
    stages: tuple = (({},),)
    lengths: str = "each"
    labels: str = "own rows"

    @property
    def is_deep(self):
        return self.name.startswith("deep:")


def find_method(name, bits):
    """Look up a method; None where this skhash does not have it."""
    if name.startswith("deep:"):
        return _deep(name, bits)
    if name == "one-hot":
        stages = (_ridges("C", 0.01, 0.001, 0.1, 0.0001, 1.0, 0.00001),)
        return Method(name, lambda n_bits, seed, setting, n: OneHotClassifier(**setting), stages, "none")
    if name == "cosine":
        return Method(name, lambda n_bits, seed, setting, n: CentredCosine(), lengths="none", labels="none")
    if name == "PCAH-random":
        return Method(name, _maker(skhash.PCAH, rotation="random"), labels="none")
    separate = name == "NestedHash-separate"
    cls = getattr(skhash, "NestedHash" if separate else name, None)
    if cls is None or not hasattr(cls, "transform"):
        return None
    labels = "none"
    if _requires_labels(cls):
        labels = "all rows" if cls.__name__ in USES_UNLABELLED else "own rows"
    if separate:
        return Method(
            name,
            lambda n_bits, seed, setting, n: cls(n_bits, prefixes=(n_bits,), random_state=seed),
            labels=labels,
        )
    if hasattr(cls, "prefix"):
        return Method(
            name,
            lambda n_bits, seed, setting, n: cls(n_bits, prefixes=tuple(bits), random_state=seed),
            lengths="prefixes",
            labels=labels,
        )
    return Method(name, _maker(cls), STAGES.get(name, (({},),)), labels=labels)


def _requires_labels(cls):
    return cls().__sklearn_tags__().target_tags.required


def _maker(cls, **fixed):
    takes_seed = "random_state" in inspect.signature(cls).parameters

    def make(n_bits, seed, setting, n_rows):
        return cls(n_bits, **fixed, **setting, **({"random_state": seed} if takes_seed else {}))

    return make


def _deep(name, bits):
    from skhash.deep.losses import LOSSES

    loss = name.removeprefix("deep:")
    if loss not in LOSSES:
        return None
    is_nested = "prefixes" in inspect.signature(LOSSES[loss]).parameters
    fixed = {"prefixes": tuple(bits)} if is_nested else {}

    def make(n_bits, seed, setting, n_rows):
        setting = dict(setting)
        weight = setting.pop("weight", {})
        epochs = setting.pop("epochs", None) or n_epochs(n_rows)
        return skhash.DeepSupervisedHasher(
            n_bits,
            loss=LOSSES[loss](**fixed, **weight),
            max_epochs=epochs,
            validation_fraction=None,
            early_stopping=None,
            random_state=seed,
            **setting,
        )

    rates = tuple({"lr": rate} for rate in sorted(LEARNING_RATES, key=lambda rate: rate != 0.001))
    weight, values = MAIN_WEIGHTS.get(loss, (None, ()))
    weights = tuple({"weight": {weight: value}} for value in values)
    others = ({"weight_decay": 0.01},), ({"batch_size": 32},)
    stages = (rates, ({"lr_schedule": "cosine"},), *((weights,) if weights else ()), *others)
    return Method(name, make, stages, lengths="prefixes" if is_nested else "each", labels="all rows")


def at_length(method, model, n_bits):
    """Take the model of the first bits, where there is one model for all lengths."""
    if method.lengths != "prefixes":
        return model
    return _network_prefix(model, n_bits) if method.is_deep else model.prefix(n_bits)


def _network_prefix(hasher, n_bits):
    """Make a network of the first bits, through which gradients pass as through the whole one."""
    import torch

    class FirstBits(torch.nn.Module):
        def __init__(self, loss):
            super().__init__()
            self.loss = loss

        def project(self, outputs):
            return self.loss.project(outputs)[:, :n_bits]

    shorter = copy.deepcopy(hasher)
    shorter.net_.criterion_ = FirstBits(shorter.net_.criterion_)
    shorter.n_bits_ = n_bits
    return shorter


def n_epochs(n_rows):
    """Longest training of a network on so many rows."""
    return int(np.clip(round(ROWS_SEEN / n_rows), FEWEST_EPOCHS, MOST_EPOCHS))


def average_precisions(model, queries, database, query_labels, database_labels, database_codes=None):
    """Compute the average precision of each query, float64."""
    if hasattr(model, "average_precisions"):
        return model.average_precisions(queries, database, query_labels, database_labels)
    codes = model.transform(database) if database_codes is None else database_codes
    return mean_average_precision(
        model.transform(queries), codes, query_labels, database_labels, return_per_query=True
    )[1]


def validate(method, model, setting, X, y, X_held_out, y_held_out):
    """Fit one setting, and rank held-out rows among themselves.

    Returns
    -------
    score : float
        Mean average precision.
    setting : dict
        That given; for a network with the number of epochs after which the score was best. Only a learning rate that
        stays constant may stop anywhere: the last epochs of a cosine belong to it.
    """
    if not method.is_deep:
        model.fit(X, y)
        if hasattr(model, "average_precisions"):
            raise TypeError(f"{method.name} has nothing to choose.")
        score = mean_average_precision(model.transform(X_held_out), None, y_held_out, zero_relevant="skip")
        return float(score), setting
    watch = _watcher(X_held_out, y_held_out)
    model.set_params(net_params={"callbacks": [watch]}).fit(X, y)
    best = len(watch.scores) - 1 if setting.get("lr_schedule") == "cosine" else int(np.argmax(watch.scores))
    return float(watch.scores[best]), {**setting, "epochs": best + 1}


def _watcher(X, y):
    import torch
    from skorch.callbacks import Callback

    class Watcher(Callback):
        """Notes the mean average precision of held-out rows after each epoch."""

        def __init__(self):
            self.scores = []

        def on_epoch_end(self, net, **kwargs):
            # The next epoch sets them back to training.
            net.module_.eval()
            net.criterion_.eval()
            projections = net.project(torch.from_numpy(X.copy())).numpy()
            self.scores.append(mean_average_precision(pack_bits(projections >= 0), None, y, zero_relevant="skip"))

    return Watcher()
