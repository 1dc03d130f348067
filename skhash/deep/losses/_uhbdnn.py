"""Unsupervised hashing with a binary deep neural network."""

import torch

from ..regularizers import bit_balance
from ._base import UnsupervisedLoss
from ._code_bank import descend_bits, signs
from ._layers import UnitVariance, zero_layer


class UHBDNN(UnsupervisedLoss):
    r"""Reconstruction of features from binary codes, with outputs near the codes, uncorrelated and balanced.

    For the outputs :math:`H` of the network (rows :math:`h_i`), a code :math:`b` of its own for each training row and
    the reference features :math:`x`, with a linear decoder :math:`W, c`,

    .. math:: \min_{H, B, W, c} \frac{1}{2n} \sum_i \| x_i - W b_i - c \|_2^2 + \frac{\lambda_1}{2} \|W\|_F^2
        + \frac{\lambda_2}{2n} \sum_i \| h_i - b_i \|_2^2
        + \frac{\lambda_3}{2} \Big\| \frac{1}{n} H'H - I \Big\|_F^2
        + \frac{\lambda_4 N}{2} \Big\| \frac{1}{n} \sum_i h_i \Big\|_2^2, \quad b_i \in \{-1, +1\}^K

    for batches of :math:`n` of the :math:`N` training rows. In training, the codes of a batch are first solved for, one
    bit :math:`k` after the other,
    :math:`B_{*k} = \operatorname{sign} \big( (X - 1 c') w_k + \lambda_2 H_{*k} - \tilde{B} \tilde{W}' w_k \big)`,
    where :math:`w_k` is column :math:`k` of :math:`W`, and :math:`\tilde{B}, \tilde{W}` lack bit :math:`k`; they are
    kept for the next epoch and are constants in the gradient. In evaluation mode, codes are signs of the outputs and
    nothing is remembered. Features are centred and divided by one number, so that the mean of their squared lengths is
    1.

    Departures from the paper: codes and network take turns in each batch rather than over the whole training set, by
    gradient steps instead of L-BFGS. The code of a row begins as the sign of its first output instead of that of ITQ,
    and the decoder as 0. :math:`\lambda_1` is that of the decoder alone: weight decay of the network is the
    optimizer's.

    Parameters
    ----------
    lam1 : float, default=1e-05
        Weight :math:`\lambda_1` of the size of the decoder.

    lam2 : float, default=0.05
        Weight :math:`\lambda_2` of the distance of the outputs to the codes.

    lam3 : float, default=0.01
        Weight :math:`\lambda_3` of the correlation of bits.

    lam4 : float, default=1e-06
        Weight :math:`\lambda_4` of the imbalance of bits.

    max_iter : int, default=10
        Number of times that the bits of the codes of a batch are gone through.

    References
    ----------
    T.-T. Do, A.-D. Doan and N.-M. Cheung, "Learning to hash with binary deep neural network", ECCV 2016.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import UHBDNN
    >>> hasher = DeepUnsupervisedHasher(32, loss=UHBDNN(max_iter=5))
    """

    def __init__(self, *, lam1=1e-5, lam2=0.05, lam3=0.01, lam4=1e-6, max_iter=10):
        super().__init__()
        self.lam1 = lam1
        self.lam2 = lam2
        self.lam3 = lam3
        self.lam4 = lam4
        self.max_iter = max_iter

    def prepare(self, n_bits, features, *, generator):
        """Make the decoder and room for the codes."""
        super().prepare(n_bits, features, generator=generator)
        self.standardizer = UnitVariance(features)
        self.decoder = zero_layer(n_bits, features.shape[1])
        self.set_rows(features)

    def set_rows(self, features):
        """Start anew for another training set, of which no code is known."""
        # Rows of zeros have not been seen yet.
        self.register_buffer("codes", features.new_zeros(len(features), self.n_bits))

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch, and solve for its codes."""
        (outputs,) = outputs
        features = self.standardizer(features) * features.shape[1] ** -0.5
        codes = self._solve(outputs.detach(), features, rows) if self.training else signs(outputs.detach())
        reconstruction = (features - self.decoder(codes)).square().sum(dim=1).mean()
        quantization = (outputs - codes).square().sum(dim=1).mean()
        identity = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        correlation = (outputs.T @ outputs / len(outputs) - identity).square().sum()
        balance = len(self.codes) * outputs.shape[1] * bit_balance(outputs)
        size = self.decoder.weight.square().sum()
        parts = self.lam1 * size + self.lam2 * quantization + self.lam3 * correlation + self.lam4 * balance
        return (reconstruction + parts) / 2

    @torch.no_grad()
    def _solve(self, outputs, features, rows):
        """Solve for the codes of a batch, from where they were left, and keep them."""
        codes = self.codes[rows].to(outputs.dtype)
        codes = torch.where(codes == 0, signs(outputs), codes)
        weight = self.decoder.weight
        wanted = (features - self.decoder.bias) @ weight + self.lam2 * outputs
        for _ in range(self.max_iter):
            before = codes.clone()
            descend_bits(codes, wanted, weight.T @ weight)
            if torch.equal(codes, before):
                break
        self.codes[rows] = codes.to(self.codes.dtype)
        return codes
