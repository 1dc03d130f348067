"""What deep hashers share: the boundary between scikit-learn and skorch, and the way of rows to a network."""

import copy
import math
import os
from abc import ABCMeta, abstractmethod
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._images import (
    CHANNELS,
    HOW_TO_SCALE,
    UnreadableImage,
    check_images,
    prefetch,
    raise_unreadable,
    read_or_report,
)
from .._optional import import_optional
from .._sklearn import Interval, StrOptions
from .._validation import all_finite, shown
from ..codes import pack_bits
from ..hashers._base import BaseHasher
from ._kinds import describe_rows, holds_images

# Larger arrays of images, and files, are taken for photographs, which a pretrained backbone sees at this size.
_SMALL_IMAGE, _BACKBONE_SIZE = 64, 160

# Images that pass through the network together when they are hashed: always as many, because convolutions of another
# number round differently. On a CPU few large ones, because one query should not wait for many; small ones are quick,
# and alone they would leave the convolutions idle.
_SMALL_IMAGES_TOGETHER, _LARGE_IMAGES_TOGETHER, _IMAGES_TOGETHER_ON_GPU = 32, 4, 256

# Images that a network learns the scale of its inputs from: as many as make this many numbers, but not too few.
_NUMBERS_TO_LEARN, _FEWEST_IMAGES_TO_LEARN = 2**24, 64


# What networks of single precision can be told.
_LARGEST = float(np.finfo(np.float32).max)

# Parameters of skorch that parameters of the estimator stand for.
_OWN_PARAMETERS = {
    *("module", "criterion", "optimizer", "lr", "max_epochs", "batch_size", "device", "verbose", "warm_start"),
    *("train_split", "dataset", "iterator_train", "iterator_valid"),
}


class BaseDeepHasher(BaseHasher, metaclass=ABCMeta):
    """Base of hashers that train a network: rows of features or images in, packed binary codes out.

    A subclass supplies ``_train(X, y, net)``, which chooses rows and calls ``_train_net``, and how its losses are made.
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "loss": [str, callable],
        "network": [str, callable],
        "image_size": [Interval(Integral, 8, None, closed="left"), None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "lr": [Interval(Real, 0, _LARGEST, closed="right")],
        "optimizer": [StrOptions({"adam", "adamw", "sgd"}), callable],
        "weight_decay": [Interval(Real, 0, _LARGEST, closed="both")],
        "lr_schedule": [StrOptions({"cosine"}), None],
        "augment": [StrOptions({"auto"}), callable, None],
        "mixed_precision": [StrOptions({"auto"}), "boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), Interval(Integral, None, -1, closed="right"), None],
        "warm_start": ["boolean"],
        "net_params": [dict, None],
    }

    @abstractmethod
    def _train(self, X, y, net):
        """Train a net, or a new one, on checked rows; return it."""

    @abstractmethod
    def _new_loss(self, told, generator):
        """Make and prepare the loss of a new net, given what it is told of each row."""

    @abstractmethod
    def _default_augmentation(self, loss):
        """Make what ``augment="auto"`` stands for; None for no change."""

    def fit(self, X, y=None):
        """Train a new net; what was fitted before stays as it was when that fails."""
        before = dict(vars(self))
        try:
            return super().fit(X, y)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _fit(self, X, y):
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.net_ = self._train(X, y, None)

    def _go_on(self, X, y):
        """Train the net that there is with more rows."""
        self._validate_params()
        if self.n_bits != self.n_bits_:
            raise ValueError(
                f"{type(self).__name__}: n_bits={self.n_bits} differs from the {self.n_bits_} bits fitted so far; set "
                "warm_start=False and call fit to start again."
            )
        self._train(self._check_more_rows(X), y, self.net_)
        return self

    def project(self, X):
        """Compute the real-valued projections whose signs are the bits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Features or images, whichever the hasher was fitted on.

        Returns
        -------
        projections : ndarray of shape (n_samples, n_bits)
            float64 for float64 features, else float32. A row's values do not depend on the other rows.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            If `X` holds NaN or infinity, has another number of features than the training data, or an image cannot be
            read.
        """
        check_is_fitted(self)
        if self.image_shape_ is None:
            self._refuse_images(X)
            return super().project(X)
        return self._hash_images(X, lambda projections: projections)

    def transform(self, X):
        """Hash features or images to packed codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Features or images, whichever the hasher was fitted on.

        Returns
        -------
        codes : ndarray of shape (n_samples, ceil(n_bits / 8)), dtype uint8
            ``pack_bits(project(X) >= 0)``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            If `X` holds NaN or infinity, has another number of features than the training data, or an image cannot be
            read.
        """
        check_is_fitted(self)
        if self.image_shape_ is None:
            self._refuse_images(X)
            return super().transform(X)
        return self._hash_images(X, lambda projections: pack_bits(projections >= 0))

    def save_weights(self, path):
        """Save the weights of the network and of the loss as a plain safetensors file.

        Parameters
        ----------
        path : str or os.PathLike
            The file; replaced where it exists. Tensors are called as in the ``state_dict`` of a module, after
            ``network.`` or ``loss.``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        OSError
            If the file cannot be written; the one before stays as it was.
        """
        from . import _checkpoints

        check_is_fitted(self)
        _checkpoints.save_weights(path, self._weighted_modules(), {"n_bits": str(self.n_bits_)})

    def load_weights(self, path):
        """Take over weights that `save_weights` saved, or others of the same names and shapes.

        Parameters
        ----------
        path : str or os.PathLike
            A safetensors file; no code in it is run.

        Returns
        -------
        self : object
            The hasher, fitted before with the same network and loss.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        OSError
            If the file cannot be read.
        ValueError
            If the file is damaged, or its tensors have other names, shapes or dtypes; nothing is changed then.
        """
        from . import _checkpoints

        check_is_fitted(self)
        try:
            _checkpoints.load_weights(path, self._weighted_modules())
        except _checkpoints.CheckpointError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error
        return self

    def _weighted_modules(self):
        return {"network": self.net_.module_, "loss": self.net_.criterion_}

    def _check_training_rows(self, X):
        if not holds_images(X):
            self._refuse_image_like(X)
            X = super()._check_training_rows(X)
            self.image_shape_ = None
            return X
        images = check_images(X, name=type(self).__name__)
        if len(images) < 2:
            raise ValueError(f"{type(self).__name__}: got 1 image, but a minimum of 2 is required; pass more.")
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
        self.image_shape_ = self._choose_image_shape(images)
        return images

    def _check_more_rows(self, X):
        """Check more rows of the kind that was fitted."""
        if self.image_shape_ is not None:
            return self._check_more_images(X)
        self._refuse_images(X)
        return super()._check_more_rows(X)

    def _check_more_images(self, X):
        if not holds_images(X):
            self._refuse_image_like(X)
            raise ValueError(
                f"{type(self).__name__}: was fitted on images, got {describe_rows(X)}; pass uint8 images or paths, or "
                "fit on features."
            )
        return check_images(X, name=type(self).__name__)

    def _refuse_images(self, X):
        if holds_images(X):
            raise ValueError(
                f"{type(self).__name__}: was fitted on features, got images ({describe_rows(X)}); pass features, or "
                "fit on images."
            )
        self._refuse_image_like(X)

    def _refuse_image_like(self, X):
        n_dimensions = getattr(X, "ndim", 2)
        if type(X).__module__.partition(".")[0] == "torch":
            raise TypeError(f"{type(self).__name__}: X is a torch tensor; pass X.numpy(force=True).")
        if n_dimensions in (3, 4):
            raise ValueError(
                f"{type(self).__name__}: Found array with dim {n_dimensions} and dtype {X.dtype}; features have 2 "
                f"dimensions, and images are uint8: {HOW_TO_SCALE}."
            )

    def _choose_image_shape(self, images):
        """Choose the height, the width and the number of channels that the network sees."""
        is_array = isinstance(images, np.ndarray)
        n_channels = 3 if not is_array or (images.ndim == 4 and images.shape[3] == 3) else 1
        if self.image_size is not None:
            return self.image_size, self.image_size, n_channels
        is_small = is_array and max(images.shape[1:3]) <= _SMALL_IMAGE
        if self.network == "efficientnet_lite0" or (self.network == "auto" and not is_small):
            return _BACKBONE_SIZE, _BACKBONE_SIZE, n_channels
        if is_array:
            return *images.shape[1:3], n_channels
        if isinstance(self.network, str):
            return _SMALL_IMAGE, _SMALL_IMAGE, n_channels
        raise ValueError(
            f"{type(self).__name__}: image_size=None is unknown for files and a network of your own; set image_size."
        )

    def _inputs(self, X, rows):
        """Make inputs of some checked rows; torch has to be there."""
        import torch

        from ._inputs import FeatureInputs, ImageArray, ImageList, ImageReader

        if self.image_shape_ is None:
            return FeatureInputs(torch.from_numpy(self._single_precision(X[rows])))
        device = torch.device("cpu")
        pixels = self._pixels(X)
        if pixels is not None:
            return ImageArray(pixels, rows, device)
        reader = ImageReader(X, self.image_shape_, name=type(self).__name__)
        return ImageList(reader, rows, device, n_jobs=self.n_jobs)

    def _network_inputs(self, X):
        """Turn a few rows of the fitted kind into one tensor of what the network is given."""
        import torch

        X = self._check_more_rows(X)
        inputs = self._inputs(X, np.arange(len(X)))
        return next(batch for batch, _ in inputs.batches(torch.arange(len(X)), [len(X)]))

    def _pixels(self, images):
        """View an array of images as the network sees them; None where they have to be decoded or resized."""
        if not isinstance(images, np.ndarray):
            return None
        pixels = images if images.ndim == 4 else images[..., np.newaxis]
        return pixels if pixels.shape[1:] == self.image_shape_ else None

    def _train_net(self, net, X, rows, tell, *, held_out=None, make_terms=None):
        """Train a net, or a new one, on some checked rows.

        Parameters
        ----------
        net : HashingNet or None
            The net so far.

        X : ndarray or list
            Checked features or images.

        rows : ndarray of shape (n,), dtype int64
            Positions of the training rows.

        tell : callable
            Given the network and the inputs of the training rows, returns a tensor of what the loss is told of each.

        held_out : tuple of ndarray, default=None
            Positions of validation rows, and their labels.

        make_terms : callable, default=None
            Given the net and the inputs of the training rows, returns what is added to the loss, and how many times an
            epoch has to see these rows for it.

        Returns
        -------
        net : HashingNet
            The trained net.
        """
        name = type(self).__name__
        for package in ("torch", "skorch"):
            import_optional(package, extra="deep", feature=name)
        self._check_parts()
        from . import _training
        from ._torch_state import check_device, isolated_torch

        device = check_device(self.device if net is None else net.device, name=name)
        inputs = self._inputs(X, rows)
        with isolated_torch(1 if self.n_jobs is None else effective_n_jobs(self.n_jobs), device):
            if net is None:
                net, told = self._new_net(inputs, tell, device)
            else:
                told = tell(net.module_, inputs)
                # What the loss remembers of each row is of the rows before.
                net.criterion_.set_rows(told.to(device))
            validation = None
            if held_out is not None:
                validation = _training.Validation(self._inputs(X, held_out[0]).to(device), held_out[1])
            terms, n_passes = ([], 1) if make_terms is None else make_terms(net, inputs)
            plan = _training.Plan(
                name=name,
                epochs=self.max_epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=self._seed,
                lr_schedule=self.lr_schedule,
                patience=getattr(self, "early_stopping", None),
                verbose=bool(self.verbose),
                validation=validation,
                augment=self._augmentation(net.criterion_, inputs, device),
                mixed_precision=self._is_mixed(device),
                terms=terms,
                n_passes=n_passes,
            )
            if self.checkpoint_dir is not None:
                self._plan_checkpoints(plan, net, inputs, told)
            net.train(_training.Rows(inputs.to(device), told.to(device)), plan)
        return net

    def _check_parts(self):
        """Refuse classes where instances are meant, and parameters of the net that belong to the estimator."""
        for parameter in ("loss", "augment", "consistency", "adversarial"):
            value = getattr(self, parameter, None)
            if isinstance(value, type):
                raise TypeError(
                    f"{type(self).__name__}: {parameter} is the class {value.__name__}; pass an instance, "
                    f"{parameter}={value.__name__}()."
                )
        for parameter in self.net_params or {}:
            if parameter in _OWN_PARAMETERS:
                raise ValueError(
                    f"{type(self).__name__}: net_params holds {parameter!r}, which the estimator sets itself; "
                    f"use the parameter of {type(self).__name__}."
                )

    def _new_net(self, inputs, tell, device):
        from ._torch_state import seed_torch
        from ._training import make_net
        from .losses import check_loss
        from .networks import make_network

        name = type(self).__name__
        generator = seed_torch(self._seed, 2)
        network = make_network(self.network, inputs.row_shape, self.n_bits, name=name)
        if hasattr(network, "learn_inputs"):
            network.learn_inputs(self._sample(inputs))
        network.to(device)
        told = tell(network, inputs)
        loss = self._new_loss(told, generator)
        if not isinstance(self.loss, str):
            check_loss(loss, self.n_bits, told, name=name)
        net = make_net(
            network,
            loss,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            device=device,
            net_params=self.net_params,
            name=name,
        )
        return net, told

    def _sample(self, inputs):
        """Take all rows of features, or some images, to learn the scale of inputs from."""
        import torch

        if self.image_shape_ is None:
            return inputs.features
        n_images = max(_FEWEST_IMAGES_TO_LEARN, _NUMBERS_TO_LEARN // math.prod(inputs.row_shape))
        rows = np.random.default_rng([self._seed, 4]).permutation(len(inputs))[:n_images]
        sample = inputs.select(np.sort(rows))
        return next(batch for batch, _ in sample.batches(torch.arange(len(sample)), [len(sample)]))

    def _augmentation(self, loss, inputs, device):
        """Make what changes rows at random before the network sees them."""
        import torch

        augment = self._default_augmentation(loss) if isinstance(self.augment, str) else copy.deepcopy(self.augment)
        if augment is None:
            return None
        if hasattr(augment, "learn_inputs"):
            augment.learn_inputs(self._sample(inputs))
        if isinstance(augment, torch.nn.Module):
            augment = augment.to(device).train()
        self._try_augmentation(augment, inputs, device)
        return augment

    def _try_augmentation(self, augment, inputs, device):
        """Augment two rows, so that what cannot work is said before the training."""
        import torch

        n_rows = min(2, len(inputs))
        batch, _ = next(iter(inputs.select(np.arange(n_rows)).to(device).batches(torch.arange(n_rows), [n_rows])))
        try:
            changed = augment(batch.clone())
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{type(self).__name__}: augment={augment!r} fails on a batch of shape {tuple(batch.shape)} "
                f"({reason}); pass one that is made for such rows, or None."
            ) from error
        if not isinstance(changed, torch.Tensor) or changed.shape != batch.shape or changed.dtype != batch.dtype:
            found = f"{tuple(changed.shape)} {changed.dtype}" if isinstance(changed, torch.Tensor) else type(changed)
            raise ValueError(
                f"{type(self).__name__}: augment={augment!r} turns a batch of shape {tuple(batch.shape)} and "
                f"{batch.dtype} into {found}; return a tensor of the same shape and dtype."
            )

    def _is_mixed(self, device):
        if self.mixed_precision != "auto":
            return bool(self.mixed_precision)
        import torch

        return device.type == "cuda" and self.image_shape_ is not None and torch.cuda.is_bf16_supported(False)

    def _plan_checkpoints(self, plan, net, inputs, told):
        """Name the checkpoint of this very training: of the same data, settings and weights to begin with."""
        import torch

        from ._checkpoints import fingerprint_of, settings_of

        if not isinstance(self.random_state, Integral):
            raise ValueError(
                f"{plan.name}: checkpoint_dir needs a training that can be repeated, but random_state is "
                f"{self.random_state!r}; set random_state to an integer."
            )
        told_apart = [
            *(version("skhash"), torch.__version__, type(self).__name__, self.n_bits),
            *(getattr(plan, name) for name in ("epochs", "batch_size", "lr", "seed", "lr_schedule", "patience")),
            *(plan.mixed_precision, str(net.device), torch.get_num_threads(), len(net.history)),
            *(settings_of(part) for part in (net.module_, net.criterion_, net.optimizer_, plan.augment)),
            *(part.state_dict() for part in (net.module_, net.criterion_, net.optimizer_)),
            *inputs.identity(),
            told,
        ]
        if plan.validation is not None:
            told_apart += [*plan.validation.inputs.identity(), plan.validation.labels]
        for term in plan.terms:
            told_apart += [settings_of(term), *term.identity()]
        plan.fingerprint = fingerprint_of(*told_apart)
        folder = Path(self.checkpoint_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"{plan.name}: checkpoint_dir={shown(str(folder))} cannot be made ({error.strerror}); pass a folder "
                "that can be written to."
            ) from error
        plan.checkpoint = folder / f"{plan.name}-{plan.fingerprint}.safetensors"

    def _project_rows(self, X):
        import torch

        from ._torch_state import torch_threads

        if not all_finite(X):
            # The base names the place. A network may squash infinity to an ordinary number.
            return np.full((*X.shape[:-1], self.n_bits_), np.nan, dtype=X.dtype)
        # A copy, because the caller's memory may be read-only, and a network may work in place.
        blocks = X.copy() if X.dtype == np.float32 else self._single_precision(X, copy=True)
        if torch.device(self.net_.device).type != "cpu":
            # A GPU is slow at small products, and rounds in ways of its own anyway.
            return self.net_.project(torch.from_numpy(blocks).flatten(0, -2)).numpy()
        with torch_threads(1):
            return np.stack([self.net_.project(torch.from_numpy(block)).numpy() for block in blocks])

    def _hash_images(self, X, finish):
        """Project blocks of images, on as many threads as torch uses, and pass each block's projections on."""
        import torch

        images = self._check_more_images(X)
        pixels, size = self._pixels(images), self._n_images_together()
        n_blocks, n_threads = -(-len(images) // size), torch.get_num_threads()
        results = []
        with prefetch(
            lambda number: self._project_images(images, pixels, number * size, size),
            n_blocks,
            n_jobs=n_threads,
            ahead=4 * n_threads,
        ) as blocks:
            for block in blocks:
                if isinstance(block, UnreadableImage):
                    raise_unreadable(block, name=type(self).__name__)
                results.append(finish(block))
        return np.concatenate(results)

    def _n_images_together(self):
        import torch

        if torch.device(self.net_.device).type != "cpu":
            return _IMAGES_TOGETHER_ON_GPU
        return _SMALL_IMAGES_TOGETHER if max(self.image_shape_[:2]) <= _SMALL_IMAGE else _LARGE_IMAGES_TOGETHER

    def _project_images(self, images, pixels, start, size):
        import torch

        from ._inputs import to_network
        from ._torch_state import torch_threads

        stop = min(start + size, len(images))
        block = np.zeros((size, *self.image_shape_), dtype=np.uint8)
        if pixels is not None:
            block[: stop - start] = pixels[start:stop]
        else:
            color = next(color for color, n_channels in CHANNELS.items() if n_channels == self.image_shape_[2])
            options = {"size": self.image_shape_[:2], "color": color, "name": type(self).__name__}
            for index in range(start, stop):
                image = read_or_report(images[index], index, **options)
                if isinstance(image, UnreadableImage):
                    return image
                block[index - start] = image
        with torch_threads(1):
            projections = self.net_.project(to_network(torch.from_numpy(block)))[: stop - start].numpy()
        if not all_finite(projections):
            raise ValueError(
                f"{type(self).__name__}: the network maps an image of {start}-{stop - 1} to numbers that are not "
                "finite; train again with a lower lr."
            )
        return projections

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
