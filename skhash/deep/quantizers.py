"""Relaxations of the sign, through which a network can be trained.

Each is a module with ``forward(outputs)`` and ``start_epoch(epoch)``. In code, the sign of 0 is +1.
"""

import torch

__all__ = [
    "AnnealedSigmoid",
    "BernoulliSign",
    "BiHalfSign",
    "ClippedStraightThroughSign",
    "Quantizer",
    "StraightThroughSign",
    "TanhContinuation",
]


class Quantizer(torch.nn.Module):
    """A relaxation of the sign.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import Quantizer
    >>> class HardTanh(Quantizer):
    ...     def forward(self, outputs):
    ...         return outputs.clamp(-1, 1)
    >>> HardTanh()(torch.tensor([[-0.5, 3.0]])).tolist()
    [[-0.5, 1.0]]
    """

    def __init__(self):
        super().__init__()

    def start_epoch(self, epoch):
        """Advance what depends on the epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch that begins, counted from 0.
        """

    def forward(self, outputs):
        """Relax the sign of outputs.

        Parameters
        ----------
        outputs : tensor of shape (n, n_bits), dtype float
            Outputs of the network.

        Returns
        -------
        codes : tensor of shape (n, n_bits), dtype of `outputs`
            Between -1 and +1.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define forward.")


class TanhContinuation(Quantizer):
    r"""Approach the sign by steeper and steeper hyperbolic tangents.

    .. math:: b = \tanh(\beta z), \quad \beta = \sqrt{1 + \lfloor \text{epoch} / 20 \rfloor}

    Parameters
    ----------
    epochs_per_step : int, default=20
        Number of epochs before :math:`\beta` grows.

    References
    ----------
    Z. Cao, M. Long, J. Wang and P. S. Yu, "HashNet: deep learning to hash by continuation", ICCV 2017.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import TanhContinuation
    >>> quantizer = TanhContinuation()
    >>> quantizer.start_epoch(60)
    >>> quantizer.beta
    2.0
    """

    def __init__(self, *, epochs_per_step=20):
        super().__init__()
        self.epochs_per_step = epochs_per_step
        self.beta = 1.0

    def start_epoch(self, epoch):
        """Set the slope of the epoch."""
        self.beta = (1 + epoch // self.epochs_per_step) ** 0.5

    def forward(self, outputs):
        """Compute the hyperbolic tangents."""
        return torch.tanh(self.beta * outputs)


class AnnealedSigmoid(Quantizer):
    r"""Approach the sign by steeper and steeper logistic functions.

    .. math:: b = 2 \sigma(\beta z) - 1, \quad \beta = 1 + r \cdot \text{epoch}

    Parameters
    ----------
    rate : float, default=1.0
        Growth :math:`r` of the slope in each epoch.

    References
    ----------
    F. Cakir, K. He, S. A. Bargal and S. Sclaroff, "Hashing with mutual information", IEEE TPAMI 2019.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import AnnealedSigmoid
    >>> AnnealedSigmoid()(torch.tensor([[0.0, 100.0]])).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, *, rate=1.0):
        super().__init__()
        self.rate = rate
        self.beta = 1.0

    def start_epoch(self, epoch):
        """Set the slope of the epoch."""
        self.beta = 1 + self.rate * epoch

    def forward(self, outputs):
        """Compute the scaled logistic functions."""
        return 2 * torch.sigmoid(self.beta * outputs) - 1


class StraightThroughSign(Quantizer):
    r"""Take the sign, and pass gradients on as if nothing had happened.

    .. math:: b = \operatorname{sign}(z), \quad \frac{\partial L}{\partial z} = \frac{\partial L}{\partial b}

    References
    ----------
    Y. Bengio, N. Léonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv:1308.3432, 2013.

    S. Su, C. Zhang, K. Han and Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import StraightThroughSign
    >>> z = torch.tensor([[0.0, -3.0]], requires_grad=True)
    >>> codes = StraightThroughSign()(z)
    >>> codes.sum().backward()
    >>> codes.tolist(), z.grad.tolist()
    ([[1.0, -1.0]], [[1.0, 1.0]])
    """

    def forward(self, outputs):
        """Take the signs."""
        return _straight_through(_sign(outputs), outputs)


class ClippedStraightThroughSign(Quantizer):
    r"""Take the sign, and pass gradients on between -1 and +1 only.

    .. math::

        b = \operatorname{sign}(z), \quad
        \frac{\partial L}{\partial z} = \frac{\partial L}{\partial b} \, [|z| \le 1]

    Outputs that are binary already are not driven further away from 0.

    References
    ----------
    I. Hubara, M. Courbariaux, D. Soudry, R. El-Yaniv and Y. Bengio, "Binarized neural networks", NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import ClippedStraightThroughSign
    >>> z = torch.tensor([[0.5, -3.0]], requires_grad=True)
    >>> ClippedStraightThroughSign()(z).sum().backward()
    >>> z.grad.tolist()
    [[1.0, 0.0]]
    """

    def forward(self, outputs):
        """Take the signs."""
        return _straight_through(_sign(outputs), outputs.clamp(-1, 1))


class BernoulliSign(Quantizer):
    r"""Draw each bit from a Bernoulli distribution.

    .. math:: P(b = +1) = \sigma(z)

    Gradients pass through the mean of the bit, :math:`2 \sigma(z) - 1`. In evaluation mode the more probable value is
    taken, the sign.

    Parameters
    ----------
    generator : torch.Generator or None, default=None
        Source of randomness, on the CPU; the global one of torch when None.

    References
    ----------
    Y. Bengio, N. Léonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv:1308.3432, 2013.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import BernoulliSign
    >>> quantizer = BernoulliSign(torch.Generator().manual_seed(0))
    >>> quantizer(torch.tensor([[100.0, -100.0]])).tolist()
    [[1.0, -1.0]]
    """

    def __init__(self, generator=None):
        super().__init__()
        self.generator = generator

    def forward(self, outputs):
        """Draw the bits."""
        probabilities = torch.sigmoid(outputs)
        if self.training:
            # Drawn on the CPU, so that the codes do not depend on the device.
            draws = torch.rand(outputs.shape, generator=self.generator, dtype=outputs.dtype).to(outputs.device)
            codes = _sign((probabilities - draws).detach())
        else:
            codes = _sign(outputs)
        return _straight_through(codes, 2 * probabilities - 1)


class BiHalfSign(Quantizer):
    r"""Give half of a batch +1 and the other half -1, in each bit.

    .. math::

        b_{ik} = +1 \text{ if } z_{ik} \text{ is in the upper half of bit } k \text{, else } -1, \quad
        \frac{\partial L}{\partial z} = \frac{\partial L}{\partial b} + \frac{\gamma}{nK} (z - b)

    The nearest code with balanced bits, that is with maximal entropy. The second part of the gradient pulls the outputs
    to their codes. The middle one of an odd number of samples keeps its own sign. In evaluation mode the sign is
    taken.

    Parameters
    ----------
    gamma : float, default=6.0
        Strength :math:`\gamma` of the pull.

    References
    ----------
    Y. Li and J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.quantizers import BiHalfSign
    >>> BiHalfSign()(torch.tensor([[0.1], [0.7], [0.5], [2.0]])).tolist()
    [[-1.0], [1.0], [-1.0], [1.0]]
    """

    def __init__(self, *, gamma=6.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs):
        """Split the batch in half."""
        if not self.training:
            return _straight_through(_sign(outputs), outputs)
        return _BiHalf.apply(outputs, self.gamma)


class _BiHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, outputs, gamma):
        n, half = len(outputs), len(outputs) // 2
        order = outputs.argsort(dim=0, stable=True)
        codes = _sign(outputs)
        codes.scatter_(0, order[:half], -1.0)
        codes.scatter_(0, order[n - half :], 1.0)
        ctx.save_for_backward(outputs, codes)
        ctx.gamma = gamma
        return codes

    @staticmethod
    def backward(ctx, gradient):
        outputs, codes = ctx.saved_tensors
        return gradient + ctx.gamma / outputs.numel() * (outputs - codes), None


def _sign(outputs):
    return torch.where(outputs >= 0, 1.0, -1.0).to(outputs.dtype)


def _straight_through(values, path):
    """Return `values` exactly, with the gradient of `path`."""
    return values + (path - path.detach())
