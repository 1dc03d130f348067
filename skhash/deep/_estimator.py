"""Deep supervised hashing: the boundary between scikit-learn and skorch."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from .._optional import import_optional
from .._sklearn import Interval, StrOptions
from .._validation import all_finite, check_finite
from ..hashers._base import BaseHasher
from ._labels import encode_labels, validation_rows


class _GivenLabels(NamedTuple):
    """What the caller passed, unchecked: features are checked first."""

    y: Any
    classes: Any


class DeepSupervisedHasher(BaseHasher):
    r"""Hash with a network trained on labels.

    A network maps features to `n_bits` real numbers, a loss of the literature compares them with the labels, and a
    gradient method minimizes its mean over batches. The signs of what the loss projects the outputs to are the bits.
    Rows without a label take no part in the training.

    Parameters
    ----------
    n_bits : int, default=32
        Code length.

    loss : str or HashLoss, default="orthohash"
        What to minimize: a loss with the settings of its paper by name, one of the keys of
        ``skhash.deep.losses.LOSSES``, or a loss object with settings of its own, which is copied.

    network : {"auto", "linear", "mlp"}, nn.Module or callable, default="auto"
        The network. "linear" is a :class:`~skhash.deep.networks.LinearHead`; "mlp", which "auto" takes for features, an
        :class:`~skhash.deep.networks.MLPHead`: both standardize the features. A module is copied; a callable takes
        `n_features` and `n_bits` and returns a module. A module with a method ``learn_inputs(features)`` is shown the
        training rows once, before the training.

    max_epochs : int, default=50
        Passes over the training rows of one fit.

    batch_size : int, default=128
        Rows of one step of the optimizer. A single row that remains joins the batch before.

    lr : float, default=0.001
        Learning rate.

    optimizer : {"adam", "adamw", "sgd"} or type, default="adam"
        The gradient method; "sgd" has a momentum of 0.9. Or a class of optimizers of torch.

    weight_decay : float, default=0.0001
        Passed to the optimizer.

    lr_schedule : {"cosine"} or None, default=None
        How the learning rate changes from epoch to epoch: from `lr` towards 0 along a cosine, or not at all.

    validation_fraction : float or None, default=0.1
        Share of the labelled training rows, at most 2000 in all, that is held out of the training, class by class.
        After each epoch they are ranked by Hamming distance, each against the others, and the weights with the highest
        tie-aware mean average precision are kept. None, or fewer than two such rows of every class, trains on all rows
        and keeps the last weights.

    early_stopping : int or None, default=10
        Epochs without a better validation after which the training stops. None never stops early.

    device : str, default="auto"
        Torch device, such as "cpu" or "cuda:1"; "auto" takes CUDA where it is available.

    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of the rows and the rows held out. The same seed gives the same codes on a CPU,
        whatever the number of threads that torch, OpenMP or BLAS are set to.

    verbose : int, default=0
        Whether to print a line per epoch: loss, validation mAP, balance of the validation bits (1 where each bit is 1
        for half of the rows, 0 where all are constant) and training rows per second.

    n_jobs : int or None, default=None
        Number of CPU threads of the training; None means 1 and -1 means one per processor. Another number rounds
        differently, and gives slightly different weights.

    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit, as `partial_fit` does.

    net_params : dict or None, default=None
        More parameters of the skorch net, such as ``{"optimizer__amsgrad": True, "callbacks": [...]}``.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net, with the network in ``module_``, the loss in ``criterion_`` and a record of each epoch in
        ``history``.

    classes_ : ndarray of shape (n_classes,)
        The classes, sorted; the numbers of the columns for indicators.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    skhash.ITQ : Learns without labels and without torch.

    Notes
    -----
    Networks compute in float32. Rows are hashed in blocks of fixed size, each on one thread, so that the code of a row
    depends neither on the rows beside it nor on the number of threads.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash.deep import DeepSupervisedHasher
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = DeepSupervisedHasher(16, max_epochs=2, random_state=0).fit(X, y)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "loss": [str, callable],
        "network": [str, callable],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"adam", "adamw", "sgd"}), callable],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({"cosine"}), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "early_stopping": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), Interval(Integral, None, -1, closed="right"), None],
        "warm_start": ["boolean"],
        "net_params": [dict, None],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        loss="orthohash",
        network="auto",
        max_epochs=50,
        batch_size=128,
        lr=0.001,
        optimizer="adam",
        weight_decay=0.0001,
        lr_schedule=None,
        validation_fraction=0.1,
        early_stopping=10,
        device="auto",
        random_state=None,
        verbose=0,
        n_jobs=None,
        warm_start=False,
        net_params=None,
    ):
        self.n_bits = n_bits
        self.loss = loss
        self.network = network
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.net_params = net_params

    def fit(self, X, y=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Classes, numbers or strings, with the number -1 for rows without a label; or indicators of zeros and ones,
            with rows of zeros for those without a label.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ImportError
            If torch or skorch is not installed.
        TypeError
            If `loss` or `network` is no such object, or `X` is sparse.
        ValueError
            If a parameter is out of its range, `X` holds NaN or infinity, `y` is missing, of another length or no array
            of labels, fewer than two rows have a label, the network does not map features to bits, the loss cannot
            take the labels, or the training ends in numbers that are not finite.
        """
        if self.warm_start and hasattr(self, "n_bits_"):
            return self.partial_fit(X, y)
        return super().fit(X, _GivenLabels(y, None))

    def partial_fit(self, X, y=None, classes=None):
        """Go on training with more rows, for `max_epochs` epochs.

        Stored codes are not updated: hash the database again. The weights, the state of the optimizer and the loss are
        those of the last call; the earlier rows are not seen again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More training features.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`.

        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur, for the first call; without it they are those of the first `y`.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            As in `fit`, or if `n_bits` was changed, or `y` holds a class that the first call did not know.
        """
        name = type(self).__name__
        if not hasattr(self, "n_bits_"):
            return super().fit(X, _GivenLabels(y, classes))
        self._validate_params()
        if self.n_bits != self.n_bits_:
            raise ValueError(
                f"{name}: n_bits={self.n_bits} differs from the {self.n_bits_} bits fitted so far; set "
                "warm_start=False and call fit to start again."
            )
        X = self._check_features(X, reset=False)
        check_finite(self, X)
        self._train(X, encode_labels(name, y, self.classes_), self.net_)
        return self

    def _fit(self, X, y):
        targets = encode_labels(type(self).__name__, y.y, y.classes)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.net_ = self._train(X, targets, None)
        self.classes_ = targets.classes

    def _train(self, X, targets, net):
        """Train a net, or a new one, on checked features and encoded labels."""
        name = type(self).__name__
        for package in ("torch", "skorch"):
            import_optional(package, extra="deep", feature=name)
        from . import _training

        if len(targets.indicators) != len(X):
            raise ValueError(f"{name}: X has {len(X)} rows and y {len(targets.indicators)}; pass one label per row.")
        n_epochs_before = len(net.history) if net is not None else 0
        random = np.random.default_rng([self._seed, 0, n_epochs_before])
        held_out = validation_rows(targets, self.validation_fraction, random)
        rows = np.setdiff1d(targets.labelled, held_out, assume_unique=True)
        if len(rows) < 2:
            raise ValueError(f"{name}: y labels {len(rows)} row; label at least 2, and better 10 of every class.")
        features, indicators = _training.as_tensors(self._single_precision(X[rows]), targets.indicators[rows])
        device = _training.check_device(self.device if net is None else net.device, name=name)
        with _training.isolated_torch(1 if self.n_jobs is None else effective_n_jobs(self.n_jobs), device):
            if net is None:
                net = self._new_net(features, indicators, device)
            else:
                # What the loss remembers of each row is of the rows before.
                net.criterion_.set_rows(indicators.to(device))
            net.batch_size = self.batch_size
            validation = None
            if len(held_out):
                (shown,) = _training.as_tensors(self._single_precision(X[held_out]))
                validation = _training.Validation(shown.to(device), targets.labels[held_out])
            plan = _training.Plan(
                name=name,
                epochs=self.max_epochs,
                lr=self.lr,
                lr_schedule=self.lr_schedule,
                patience=self.early_stopping,
                seed=self._seed,
                verbose=bool(self.verbose),
                validation=validation,
            )
            net.train(_training.Rows(features.to(device), indicators.to(device)), plan)
        return net

    def _new_net(self, features, indicators, device):
        from ._training import make_net, seed_torch
        from .losses import make_loss
        from .networks import make_network

        name = type(self).__name__
        generator = seed_torch(self._seed, 2)
        loss = make_loss(self.loss, name=name)
        network = make_network(self.network, tuple(features.shape[1:]), self.n_bits, name=name)
        if hasattr(network, "learn_inputs"):
            network.learn_inputs(features)
        n_samples, n_classes = indicators.shape
        try:
            loss.prepare(self.n_bits, n_classes, n_samples=n_samples, targets=indicators, generator=generator)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        return make_net(
            network,
            loss,
            optimizer=self.optimizer,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            device=device,
            net_params=self.net_params,
            name=name,
        )

    def _project_rows(self, X):
        from . import _training

        if not all_finite(X):
            # The base names the place. A network may squash infinity to an ordinary number.
            return np.full((*X.shape[:-1], self.n_bits_), np.nan, dtype=X.dtype)
        # A copy, because the caller's memory may be read-only, and a network may work in place.
        blocks = self._single_precision(X, copy=True)
        with _training.torch_threads(1):
            return np.stack([self.net_.project(*_training.as_tensors(block)).numpy() for block in blocks])

    def _single_precision(self, X, *, copy=None):
        """Cast finite features to a C-contiguous float32 array; a copy only where needed, or always."""
        with np.errstate(over="ignore"):
            single = np.array(X, dtype=np.float32, order="C", copy=copy)
        if all_finite(single):
            return single
        raise ValueError(
            f"{type(self).__name__}: features up to {abs(X).max():.3g} overflow in float32, in which networks compute; "
            "scale them, for example with sklearn.preprocessing.StandardScaler."
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
