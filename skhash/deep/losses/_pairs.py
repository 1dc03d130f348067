"""What losses on the pairs of a batch share."""

import torch
import torch.nn.functional as F


def labelled_pairs(targets):
    """Say which ordered pairs of a batch count: two different samples that both have a label.

    Parameters
    ----------
    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a sample, else 0; rows of zeros are unlabelled.

    Returns
    -------
    counted : tensor of shape (n, n), dtype bool
        Symmetric, with False on the diagonal.
    """
    labelled = (targets > 0).any(dim=1)
    counted = labelled[:, None] & labelled
    return counted.fill_diagonal_(False)


def mean_where(values, counted):
    """Average the values that count, 0 where none does.

    Parameters
    ----------
    values : tensor of any shape, dtype float
        Finite values.

    counted : tensor of the shape of `values`, dtype bool
        Which of them count.

    Returns
    -------
    mean : tensor of shape (), dtype float
        Differentiable with respect to `values`.
    """
    return (values * counted).sum() / counted.sum().clamp(min=1)


def balanced_mean(values, similar, counted):
    r"""Average values over pairs as if there were as many similar pairs as dissimilar ones.

    .. math:: \frac{1}{|S|} \sum_{ij} w_{ij} v_{ij}, \quad
        w_{ij} = |S| / |S_1| \text{ if } s_{ij} = 1, \text{ else } |S| / |S_0|

    is the mean over the similar pairs plus the mean over the dissimilar ones. A kind of which there is no pair adds 0.

    Parameters
    ----------
    values : tensor of shape (n, n), dtype float
        Finite value of each pair.

    similar : tensor of shape (n, n), dtype float
        1 where two samples share a class, else 0.

    counted : tensor of shape (n, n), dtype bool
        Which pairs count.

    Returns
    -------
    mean : tensor of shape (), dtype float
        Differentiable with respect to `values`.
    """
    return mean_where(values, counted & (similar > 0)) + mean_where(values, counted & (similar == 0))


def cosine_preservation(codes, features):
    r"""Compute how far the cosines of codes are from those of features.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} \big( \cos(b_i, b_j) - \cos(x_i, x_j) \big)^2

    The cosine with a row of zeros is 0.

    Parameters
    ----------
    codes : tensor of shape (n, n_bits), dtype float
        Codes :math:`b`.

    features : tensor of shape (n, n_features), dtype float
        Features :math:`x`.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Mean over the pairs of different rows, 0 where there is none. Differentiable with respect to both.
    """
    codes, directions = F.normalize(codes), F.normalize(features)
    errors = codes @ codes.T - directions @ directions.T
    different = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    return mean_where(errors.square(), different)
