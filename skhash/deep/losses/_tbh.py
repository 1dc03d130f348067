"""Auto-encoding twin-bottleneck hashing."""

import torch
import torch.nn.functional as F

from ..quantizers import StraightThroughSign
from ._base import UnsupervisedLoss
from ._layers import UnitVariance, linear_layer, zero_layer

# The power that sharpens the graph in the program of the authors.
_POWER = 1.4


class TBH(UnsupervisedLoss):
    r"""Reconstruction of features from two bottlenecks, of which the binary one says how rows share the other.

    For the outputs :math:`z` of the network, codes :math:`B \in \{0, 1\}^{n \times K}` of the more probable bits
    of :math:`p = \sigma(z)` and a continuous bottleneck :math:`C = f(X)` of the reference features :math:`X`, a graph
    of the batch from the Hamming distances of its codes mixes the continuous bottleneck by a graph convolution, from
    which features are decoded,

    .. math:: A_{ij} = \Big( 1 - \tfrac{1}{K} \| b_i - b_j \|_1 \Big)^{1.4}, \quad
        Y = \sigma \big( D^{-1/2} A D^{-1/2} (C W + 1 w') \big), \quad D = \operatorname{diag}(A 1), \quad
        \hat{X} = g(Y).

    Two logistic discriminators :math:`d_1, d_2` tell both bottlenecks :math:`b, y` from draws :math:`b^*, y^*` of fair
    coins and of the uniform distribution on the unit interval, and the others deceive them:

    .. math:: \min_{z, f, W, g} \max_{d_1, d_2} \frac{1}{2n} \| X - \hat{X} \|_F^2 + \frac{\lambda}{n} \sum_i
        \Big( \log d_1(b_i^*) + \log \big( 1 - d_1(b_i) \big)
        + \log d_2(y_i^*) + \log \big( 1 - d_2(y_i) \big) \Big).

    :math:`f` and :math:`g` have one hidden layer of rectified linear units, and :math:`f` ends in logistic functions.
    Gradients pass straight through to :math:`p`. Features are centred and divided by one number, so that the mean of
    their variances is 1.

    Departures from the paper: one gradient step does both sides of the min-max, where the paper alternates; a layer
    between bottlenecks and discriminators reverses gradients, and the value of the loss is the reconstruction plus
    :math:`\lambda` times what the discriminators minimize. The discriminators begin at 0, undecided, because a network
    with a hidden layer obeys random ones faster than they learn, until all codes are one. The continuous bottleneck has
    a hidden layer of its own, for the network gives only the outputs for the bits. Codes are the more probable bits,
    as in the program of the authors, where the paper draws them; the power 1.4 is that of the program, too. Draws come
    from the global generator of torch.

    Parameters
    ----------
    lam : float, default=1.0
        Weight :math:`\lambda` of the discriminators.

    n_continuous : int, default=512
        Size of the continuous bottleneck.

    n_hidden : int, default=1024
        Width of the hidden layers.

    References
    ----------
    Y. Shen, J. Qin, J. Chen, M. Yu, L. Liu, F. Zhu, F. Shen and L. Shao, "Auto-encoding twin-bottleneck hashing", CVPR
    2020.

    Y. Ganin and V. Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML 2015.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import TBH
    >>> hasher = DeepUnsupervisedHasher(32, loss=TBH(lam=0.5))
    """

    def __init__(self, *, lam=1.0, n_continuous=512, n_hidden=1024):
        super().__init__()
        self.lam = lam
        self.n_continuous = n_continuous
        self.n_hidden = n_hidden
        self.quantizer = StraightThroughSign()

    def prepare(self, n_bits, features, *, generator):
        """Make the encoder, the graph convolution, the decoder and the discriminators."""
        super().prepare(n_bits, features, generator=generator)
        n_features = features.shape[1]
        self.standardizer = UnitVariance(features)
        self.encoder = torch.nn.Sequential(
            linear_layer(n_features, self.n_hidden, generator),
            torch.nn.ReLU(),
            linear_layer(self.n_hidden, self.n_continuous, generator),
            torch.nn.Sigmoid(),
        )
        self.convolution = linear_layer(self.n_continuous, self.n_continuous, generator)
        self.decoder = torch.nn.Sequential(
            linear_layer(self.n_continuous, self.n_hidden, generator),
            torch.nn.ReLU(),
            linear_layer(self.n_hidden, n_features, generator),
        )
        self.code_critic = zero_layer(n_bits, 1)
        self.continuous_critic = zero_layer(self.n_continuous, 1)

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch."""
        (outputs,) = outputs
        features = self.standardizer(features)
        # tanh(z / 2) is 2 p - 1, with the sign of z where p rounds to 1 / 2.
        codes = self.quantizer(torch.tanh(outputs / 2))
        mixed = torch.sigmoid(_graph(codes) @ self.convolution(self.encoder(features)))
        reconstruction = (features - self.decoder(mixed)).square().sum(dim=1).mean() / 2
        codes = (codes + 1) / 2
        critics = _criticize(self.code_critic, codes, _draw(codes).round())
        critics = critics + _criticize(self.continuous_critic, mixed, _draw(mixed))
        return reconstruction + self.lam * critics


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def _graph(codes):
    """Compute the normalized adjacency of rows with codes of -1 and +1."""
    adjacency = ((1 + codes @ codes.T / codes.shape[1]) / 2).pow(_POWER)
    # A row is its own neighbour, and no gradient can change it; so no degree is below 1.
    adjacency = adjacency.fill_diagonal_(1)
    roots = adjacency.sum(dim=1).rsqrt()
    return roots[:, None] * adjacency * roots


def _draw(like):
    """Draw uniform numbers, on the CPU so that they do not depend on the device."""
    return torch.rand(like.shape, dtype=like.dtype).to(like.device)


def _criticize(critic, values, draws):
    """Compute the negative log likelihood of a discriminator, and turn its gradient around for the values."""
    found = critic(_ReverseGradient.apply(values))
    return F.softplus(-critic(draws)).mean() + F.softplus(found).mean()
