"""Terms that pull the outputs of a network towards codes that are binary, balanced and uncorrelated."""

import math

import torch
import torch.nn.functional as F

__all__ = [
    "bit_balance",
    "bit_correlation",
    "cubic_quantization",
    "l1_quantization",
    "l2_quantization",
    "log_cosh_quantization",
    "sliced_wasserstein_quantization",
]


def l1_quantization(outputs):
    r"""Compute how far outputs are from -1 and +1, by absolute differences.

    .. math:: \frac{1}{n} \sum_i \left\| |z_i| - 1 \right\|_1

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Sum over bits, mean over samples.

    References
    ----------
    H. Liu, R. Wang, S. Shan and X. Chen, "Deep supervised hashing for fast image retrieval", CVPR 2016.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import l1_quantization
    >>> l1_quantization(torch.tensor([[1.0, -0.5], [2.0, 0.0]])).item()
    1.25
    """
    return (outputs.abs() - 1).abs().sum(dim=1).mean()


def l2_quantization(outputs):
    r"""Compute how far outputs are from their codes, by squared differences.

    .. math:: \frac{1}{n} \sum_i \| z_i - b_i \|_2^2, \quad b_i = \operatorname{sign}(z_i)

    The codes count as constants: no gradient passes through the sign. The sign of 0 is +1.

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Sum over bits, mean over samples.

    References
    ----------
    W.-J. Li, S. Wang and W.-C. Kang, "Feature learning based deep supervised hashing with pairwise labels", IJCAI 2016.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import l2_quantization
    >>> l2_quantization(torch.tensor([[1.0, -0.5], [2.0, 0.0]])).item()
    1.125
    """
    codes = torch.where(outputs >= 0, 1.0, -1.0).to(outputs.dtype)
    return (outputs - codes).square().sum(dim=1).mean()


def cubic_quantization(outputs):
    r"""Compute how far outputs are from -1 and +1, by cubed differences.

    .. math:: \frac{1}{n} \sum_i \left\| |z_i| - 1 \right\|_3^3

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Sum over bits, mean over samples.

    References
    ----------
    S. Su, C. Zhang, K. Han and Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import cubic_quantization
    >>> cubic_quantization(torch.tensor([[1.0, -0.5], [2.0, 0.0]])).item()
    1.0625
    """
    return (outputs.abs() - 1).abs().pow(3).sum(dim=1).mean()


def log_cosh_quantization(outputs):
    r"""Compute how far outputs are from -1 and +1, by a smooth absolute value.

    .. math:: \frac{1}{n} \sum_i \sum_k \log \cosh(|z_{ik}| - 1)

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Sum over bits, mean over samples.

    References
    ----------
    H. Zhu, M. Long, J. Wang and Y. Cao, "Deep hashing network for efficient similarity retrieval", AAAI 2016.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import log_cosh_quantization
    >>> round(log_cosh_quantization(torch.tensor([[1.0, -1.0], [2.0, 0.0]])).item(), 4)
    0.4338
    """
    # cosh overflows soon; log cosh x = x + log(1 + exp(-2x)) - log 2 does not.
    distance = outputs.abs() - 1
    return (distance + F.softplus(-2 * distance) - math.log(2)).sum(dim=1).mean()


def bit_balance(outputs):
    r"""Compute how unevenly the bits split the samples.

    .. math:: \frac{1}{K} \left\| \frac{1}{n} \sum_i z_i \right\|_2^2

    It is 0 when every bit has mean 0, and 1 when all samples have one and the same code.

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before or after the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Squared mean of a bit over the samples, mean over bits.

    References
    ----------
    Y. Weiss, A. Torralba and R. Fergus, "Spectral hashing", NeurIPS 2008.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import bit_balance
    >>> bit_balance(torch.tensor([[1.0, -1.0], [1.0, 1.0]])).item()
    0.5
    """
    return outputs.mean(dim=0).square().mean()


def bit_correlation(outputs):
    r"""Compute how much pairs of different bits say the same.

    .. math:: \frac{1}{K (K - 1)} \sum_{k \ne l} \left( \frac{1}{n} \sum_i z_{ik} z_{il} \right)^2

    It is 0 when the bits are uncorrelated, or when there is only one, and 1 when all bits of codes are equal.

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before or after the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Squared correlation (not centred), mean over ordered pairs of different bits.

    References
    ----------
    Y. Weiss, A. Torralba and R. Fergus, "Spectral hashing", NeurIPS 2008.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import bit_correlation
    >>> bit_correlation(torch.tensor([[1.0, -1.0], [1.0, -1.0]])).item()
    1.0
    """
    n, n_bits = outputs.shape
    products = outputs.T @ outputs / n
    off_diagonal = products - torch.diag(torch.diagonal(products))
    return off_diagonal.square().sum() / max(n_bits * (n_bits - 1), 1)


def sliced_wasserstein_quantization(outputs):
    r"""Compute the Wasserstein distance of each bit to a balanced code.

    .. math:: \frac{1}{nK} \sum_k \sum_{i=1}^{n} \left( z_{(i)k} - t_i \right)^2

    with the outputs :math:`z_{(1)k} \le \ldots \le z_{(n)k}` of a bit sorted over the batch. The lower half is pulled
    to :math:`t_i = -1` and the upper half to :math:`t_i = +1`, so this one term asks for balance and for binary
    outputs. The axes of the code serve as the slices. The middle one of an odd number of samples has target 0: the
    gradient is that of a target which is -1 and +1 with equal probability.

    Parameters
    ----------
    outputs : tensor of shape (n, n_bits), dtype float
        Outputs of the network, before the sign.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Mean over samples and bits.

    References
    ----------
    K. D. Doan, P. Yang and P. Li, "One loss for quantization: deep hashing with discrete Wasserstein distributional
    matching", CVPR 2022.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.regularizers import sliced_wasserstein_quantization
    >>> sliced_wasserstein_quantization(torch.tensor([[2.0], [1.0]])).item()
    2.5
    """
    n = len(outputs)
    ranks = torch.arange(n, device=outputs.device)
    halves = torch.sign(2 * ranks - (n - 1)).to(outputs.dtype)
    return (outputs.sort(dim=0).values - halves[:, None]).square().mean()
