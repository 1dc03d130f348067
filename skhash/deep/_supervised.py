"""Deep supervised hashing."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from .._labels import encode_labels, warn_of_signs
from .._sklearn import HasMethods, Interval
from ._estimator import BaseDeepHasher
from ._labels import validation_rows


class _GivenLabels(NamedTuple):
    """What the caller passed, unchecked: rows are checked first."""

    y: Any
    classes: Any


class DeepSupervisedHasher(BaseDeepHasher):
    r"""Hash with a network trained on labels.

    A network maps features or images to `n_bits` real numbers, a loss of the literature compares them with the labels,
    and a gradient method minimizes its mean over batches. The signs of what the loss projects the outputs to are the
    bits. Rows without a label take no part in the training, unless `consistency` is given.

    Parameters
    ----------
    n_bits : int, default=32
        Code length.

    loss : str or HashLoss, default="orthohash"
        What to minimize: a loss with the settings of its paper by name, one of the keys of
        ``skhash.deep.losses.LOSSES``, or a loss object with settings of its own, which is copied.

    network : {"auto", "linear", "mlp", "cnn", "efficientnet_lite0"}, nn.Module or callable, default="auto"
        The network. For features "linear" is a :class:`~skhash.deep.networks.LinearHead` and "mlp" an
        :class:`~skhash.deep.networks.MLPHead`; both standardize the features. For images "cnn" is a
        :class:`~skhash.deep.networks.SmallCNN` that starts from nothing, and "efficientnet_lite0" a pretrained
        :class:`~skhash.deep.networks.BackboneNetwork`. "auto" takes "mlp" for features, "cnn" for an array of images of
        at most 64 pixels a side, and "efficientnet_lite0" for other images. A module is copied; a callable takes the
        number of features, or of channels of an image, and `n_bits`, and returns a module. A module with a method
        ``learn_inputs(inputs)`` is shown training rows once, before the training. Images reach a module as float32
        tensors of shape (n, n_channels, height, width), with pixels from 0 to 1.

    image_size : int or None, default=None
        Height and width that images are resized to. None keeps the size of an array of images where the network is no
        pretrained one, which takes 160; files are resized to 64 pixels for "cnn" and to 160 otherwise.

    max_epochs : int, default=50
        Passes over the training rows of one fit.

    batch_size : int, default=128
        Rows of one step of the optimizer. A single row that remains joins the batch before.

    lr : float, default=0.001
        Learning rate. Weights of a submodule that is called ``backbone``, as pretrained ones are, learn at a tenth of
        it.

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

    augment : {"auto"}, callable or None, default="auto"
        What changes a batch at random before the network sees it: a callable, such as a module of
        :mod:`skhash.deep.augmentation`, that takes and returns a float32 tensor. "auto" shifts and mirrors images,
        which is wrong for letters and digits, and leaves features as they are unless `consistency` needs two views.

    consistency : float, MeanTeacher or None, default=None
        Semi-supervised learning: what pulls the projections of a row, labelled or not, towards those of another view of
        it by an averaged network. A number is the weight of a :class:`~skhash.deep.semi_supervised.MeanTeacher`.

    adversarial : ProjectedGradient or None, default=None
        Adversarial training: a :class:`~skhash.deep.adversarial.ProjectedGradient`, which changes each batch so that
        its codes leave the centres of their classes, and says how much the loss of such rows weighs.

    mixed_precision : {"auto"} or bool, default="auto"
        Whether the network computes in bfloat16 where torch holds that to be safe, while weights and losses stay
        float32. "auto" does so for images on a CUDA device that has it. Codes are always computed in float32.

    checkpoint_dir : str, os.PathLike or None, default=None
        Folder for a checkpoint after each epoch. A training of the same data, settings and `random_state`, an integer,
        goes on from it, and ends with the same codes as one that was never interrupted. The files are named by all
        that, so that many trainings can share a folder; delete them when they are no longer needed. Settings inside
        plain functions are not looked at.

    device : str, default="auto"
        Torch device, such as "cpu" or "cuda:1"; "auto" takes CUDA where it is available.

    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of the rows and the rows held out. The same seed gives the same codes on a CPU,
        whatever the number of threads that torch, OpenMP or BLAS are set to.

    verbose : int, default=0
        Whether to print a line per epoch: loss, validation mAP, balance of the validation bits (1 where each bit is 1
        for half of the rows, 0 where all are constant) and training rows per second; and a bar within the epoch, where
        stderr is a terminal.

    n_jobs : int or None, default=None
        Number of CPU threads of the training, and as many that decode images; None means 1 and -1 means one per
        processor. Another number rounds differently, and gives slightly different weights.

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

    image_shape_ : tuple of int or None
        Height, width and number of channels that the network sees of an image; None after a fit on features.

    n_features_in_ : int
        Number of features seen during `fit`; missing after a fit on images.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DeepUnsupervisedHasher : Learns without labels.
    skhash.ITQ : Learns without labels and without torch.

    Notes
    -----
    Networks compute in float32. Rows are hashed in blocks of fixed size, each on one thread, so that the code of a row
    depends neither on the rows beside it nor on the number of threads. Images are never copied as a whole: of an array
    batches are taken, and files are read in each epoch by threads that run ahead of the network.

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
        **BaseDeepHasher._parameter_constraints,
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "early_stopping": [Interval(Integral, 1, None, closed="left"), None],
        "consistency": [Interval(Real, 0, None, closed="neither"), HasMethods("start"), None],
        "adversarial": [HasMethods("perturb"), None],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        loss="orthohash",
        network="auto",
        image_size=None,
        max_epochs=50,
        batch_size=128,
        lr=0.001,
        optimizer="adam",
        weight_decay=0.0001,
        lr_schedule=None,
        validation_fraction=0.1,
        early_stopping=10,
        augment="auto",
        consistency=None,
        adversarial=None,
        mixed_precision="auto",
        checkpoint_dir=None,
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
        self.image_size = image_size
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.augment = augment
        self.consistency = consistency
        self.adversarial = adversarial
        self.mixed_precision = mixed_precision
        self.checkpoint_dir = checkpoint_dir
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
        X : array-like of shape (n_samples, n_features), or images
            Training features; or images: a uint8 array of shape (n_samples, height, width) or (n_samples, height,
            width, n_channels) with 1 or 3 channels, or a list of file paths, PIL images or uint8 arrays.

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
            If a parameter is out of its range, `X` holds NaN or infinity or an image that cannot be read, `y` is
            missing, of another length or no array of labels, fewer than two rows have a label, the network does not map
            rows to bits, the loss cannot take the labels, or the training ends in numbers that are not finite.
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
        X : array-like of shape (n_samples, n_features), or images
            More training rows, of the same kind.

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
        if not hasattr(self, "n_bits_"):
            return super().fit(X, _GivenLabels(y, classes))
        return self._go_on(X, _GivenLabels(y, self.classes_))

    def _train(self, X, y, net):
        name = type(self).__name__
        targets = encode_labels(name, y.y, y.classes)
        if y.classes is None:
            warn_of_signs(name, targets)
        if len(targets) != len(X):
            raise ValueError(f"{name}: X has {len(X)} rows and y {len(targets)}; pass one label per row.")
        n_epochs_before = len(net.history) if net is not None else 0
        random = np.random.default_rng([self._seed, 0, n_epochs_before])
        held_out = validation_rows(targets, self.validation_fraction, random)
        rows = np.setdiff1d(targets.labelled, held_out, assume_unique=True)
        if len(rows) < 2:
            raise ValueError(f"{name}: y labels {len(rows)} row; label at least 2, and better 10 of every class.")
        indicators = targets.indicators_of(rows)

        def tell(network, inputs):
            import torch

            return torch.from_numpy(indicators)

        def make_terms(net, inputs):
            unlabelled = np.setdiff1d(np.arange(len(targets)), targets.labelled, assume_unique=True)
            return self._make_terms(net, inputs, X, unlabelled)

        net = self._train_net(
            net,
            X,
            rows,
            tell,
            held_out=(held_out, targets.labels[held_out]) if len(held_out) else None,
            make_terms=make_terms,
        )
        self.classes_ = targets.classes
        return net

    def _new_loss(self, told, generator):
        from .losses import make_loss

        name = type(self).__name__
        loss = make_loss(self.loss, name=name)
        n_samples, n_classes = told.shape
        try:
            loss.prepare(self.n_bits, n_classes, n_samples=n_samples, targets=told, generator=generator)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
        return loss

    def _make_terms(self, net, inputs, X, unlabelled):
        """Make what is added to the loss, and the number of passes that bring each unlabelled row into an epoch."""
        import torch

        from ._terms import AdversarialTerm, ConsistencyTerm
        from .semi_supervised import MeanTeacher

        terms, n_passes, device = [], 1, torch.device(net.device)
        if self.adversarial is not None:
            is_image = self.image_shape_ is not None
            scale = 1.0 if is_image else inputs.features.std(dim=0, correction=0).to(device)
            terms.append(AdversarialTerm(self.adversarial, scale, (0.0, 1.0) if is_image else None))
        if self.consistency is not None:
            if not len(unlabelled):
                raise ValueError(
                    f"{type(self).__name__}: consistency={self.consistency} needs rows without a label, but y labels "
                    "all of them; mark such rows by -1, or set consistency=None."
                )
            settings = self.consistency
            if isinstance(settings, Real):
                settings = MeanTeacher(weight=settings)
            teacher = settings.start(net.module_)
            terms.append(ConsistencyTerm(settings, teacher, self._inputs(X, unlabelled).to(device)))
            n_passes = max(1, round(len(unlabelled) / settings.n_unlabelled(len(inputs))))
        return terms, n_passes

    def _default_augmentation(self, loss):
        from .augmentation import FeatureNoise, ImageAugmentation

        if self.image_shape_ is not None:
            return ImageAugmentation()
        return None if self.consistency is None else FeatureNoise()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
