"""Deep unsupervised hashing."""

from contextlib import closing

import numpy as np

from ._estimator import BaseDeepHasher

# Height and width of the pooled pixels that similarity is read from where no pretrained network is there.
_POOLED_SIZE = 16


class DeepUnsupervisedHasher(BaseDeepHasher):
    r"""Hash with a network trained without labels.

    A network maps features or images to `n_bits` real numbers. A loss of the literature compares them with the
    similarity of the rows, or makes two views of one row alike. The signs of what the loss projects the outputs to are
    the bits.

    Similarity is read from the features themselves. For images it is read from the features that the pretrained
    ``backbone`` of the network computes before the training, or, where there is none, from pixels averaged to 16 x 16,
    which tell little about what an image shows.

    Parameters
    ----------
    n_bits : int, default=32
        Code length.

    loss : str or UnsupervisedLoss, default="bihalf"
        What to minimize: a loss with the settings of its paper by name, one of the keys of
        ``skhash.deep.losses.UNSUPERVISED_LOSSES``, or a loss object with settings of its own, which is copied.

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

    augment : {"auto"}, callable or None, default="auto"
        What changes a batch at random before the network sees it, for each view anew: a callable, such as a module of
        :mod:`skhash.deep.augmentation`, that takes and returns a float32 tensor. "auto" gives losses of two views
        :class:`~skhash.deep.augmentation.FeatureNoise` on features, and strong changes of images; other losses see
        features as they are, and images shifted and mirrored.

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
        Seed of the weights, the order of the rows and the views. The same seed gives the same codes on a CPU, whatever
        the number of threads that torch, OpenMP or BLAS are set to.

    verbose : int, default=0
        Whether to print a line per epoch, loss and training rows per second; and a bar within the epoch, where stderr
        is a terminal.

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
    DeepSupervisedHasher : Learns from labels.
    skhash.ITQ : Linear, without torch, and hard to beat on good features.

    Notes
    -----
    There is no validation without labels: a training takes `max_epochs` epochs and keeps the last weights. Put ITQ
    beside it before you trust it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = DeepUnsupervisedHasher(16, max_epochs=2, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    def __init__(
        self,
        n_bits=32,
        *,
        loss="bihalf",
        network="auto",
        image_size=None,
        max_epochs=50,
        batch_size=128,
        lr=0.001,
        optimizer="adam",
        weight_decay=0.0001,
        lr_schedule=None,
        augment="auto",
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
        self.augment = augment
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

        y : None
            Ignored, present for consistency with the API.

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
            If a parameter is out of its range, `X` holds NaN or infinity or an image that cannot be read, the network
            does not map rows to bits, or the training ends in numbers that are not finite.
        """
        if self.warm_start and hasattr(self, "n_bits_"):
            return self.partial_fit(X)
        return super().fit(X)

    def partial_fit(self, X, y=None):
        """Go on training with more rows, for `max_epochs` epochs.

        Stored codes are not updated: hash the database again. The weights, the state of the optimizer and the loss are
        those of the last call; the earlier rows are not seen again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            More training rows, of the same kind.

        y : None
            Ignored, present for consistency with the API.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            As in `fit`, or if `n_bits` was changed.
        """
        if not hasattr(self, "n_bits_"):
            return super().fit(X)
        return self._go_on(X, None)

    def _train(self, X, y, net):
        return self._train_net(net, X, np.arange(len(X)), self._tell)

    def _tell(self, network, inputs):
        """Compute the features that similarity is read from."""
        import torch

        from ._training import in_order

        if self.image_shape_ is None:
            return inputs.features
        training = network.training
        network.eval()
        describe = network.features if hasattr(network, "features") else _pool_pixels
        with torch.inference_mode(), closing(in_order(inputs)) as batches:
            device = next(network.parameters()).device
            features = torch.cat([describe(batch.to(device)).cpu() for batch in batches])
        network.train(training)
        # Tensors of inference mode cannot take part in a loss.
        return features.clone()

    def _new_loss(self, told, generator):
        from .losses import make_unsupervised_loss

        name = type(self).__name__
        loss = make_unsupervised_loss(self.loss, name=name)
        try:
            loss.prepare(self.n_bits, told, generator=generator)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
        return loss

    def _default_augmentation(self, loss):
        from .augmentation import FeatureNoise, ImageAugmentation

        if self.image_shape_ is None:
            return FeatureNoise(noise=0.5, dropout=0.5) if loss.n_views == 2 else None
        return ImageAugmentation.contrastive() if loss.n_views == 2 else ImageAugmentation()


def _pool_pixels(images):
    import torch

    return torch.nn.functional.adaptive_avg_pool2d(images, _POOLED_SIZE).flatten(1)
