"""What losses on single samples and their classes share."""

import torch
import torch.nn.functional as F

from ...centers import bernoulli_centers, hadamard_centers
from ._layers import linear_layer


def labelled_samples(targets):
    """Say which samples have a label.

    Parameters
    ----------
    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a sample, else 0; rows of zeros are unlabelled.

    Returns
    -------
    labelled : tensor of shape (n,), dtype bool
        True where there is a label.
    """
    return (targets > 0).any(dim=1)


def is_multi_label(targets):
    """Say whether a sample has more than one class.

    Parameters
    ----------
    targets : tensor of shape (n_samples, n_classes), dtype float
        Those of the whole training set.

    Returns
    -------
    multi_label : bool
        False when every sample has one class or none.
    """
    return bool(((targets > 0).sum(dim=1) > 1).any())


def linear_classifier(n_bits, n_classes, generator):
    """Make a linear layer from codes to classes.

    Parameters
    ----------
    n_bits : int
        Code length.

    n_classes : int
        Number of classes.

    generator : torch.Generator
        Source of the weights, which are uniform within 1 / sqrt(`n_bits`) of 0 as those of any linear layer in torch.

    Returns
    -------
    classifier : torch.nn.Linear
        On the CPU.
    """
    return linear_layer(n_bits, n_classes, generator)


def classification_loss(logits, targets, multi_label):
    r"""Compute the cross-entropy of classes.

    For one class each, with the label :math:`y_i` of a sample, and for several with :math:`y_{ic} \in \{0, 1\}`:

    .. math::

        -\frac{1}{n} \sum_i \log \frac{e^{o_{i y_i}}}{\sum_c e^{o_{ic}}}
        \quad \text{or} \quad
        -\frac{1}{nC} \sum_{ic} \left( y_{ic} \log \sigma(o_{ic}) + (1 - y_{ic}) \log \sigma(-o_{ic}) \right)

    Parameters
    ----------
    logits : tensor of shape (n, n_classes), dtype float
        Scores :math:`o` of the classes.

    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a sample, else 0.

    multi_label : bool
        Whether samples have several classes.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Mean over the labelled samples, 0 when there is none.
    """
    labelled = labelled_samples(targets)
    if not labelled.any():
        return logits.sum() * 0
    logits, targets = logits[labelled], targets[labelled]
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, targets)
    return F.cross_entropy(logits, targets.argmax(dim=1))


def draw_seed(generator):
    """Draw a seed for NumPy.

    Parameters
    ----------
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    seed : int
        From 0 to 2**31 - 1.
    """
    return int(torch.randint(2**31, (1,), generator=generator))


def check_codes_suffice(n_classes, n_bits, *, name):
    """Check that there is a code for each class.

    Parameters
    ----------
    n_classes : int
        Number of classes.

    n_bits : int
        Code length.

    name : str
        The loss, for the message.

    Raises
    ------
    ValueError
        If there are more classes than codes.
    """
    # Integers of NumPy overflow.
    n_codes = 2 ** int(n_bits)
    if n_classes > n_codes:
        raise ValueError(
            f"{name}: {n_classes} classes exceed the {n_codes} codes of n_bits={n_bits}, so that not each can have a "
            f"centre; raise n_bits."
        )


def draw_centers(n_classes, n_bits, generator, *, name):
    """Draw centres from a Hadamard matrix if there is one with enough rows, else bit by bit.

    Parameters
    ----------
    n_classes : int
        Number of centres.

    n_bits : int
        Code length.

    generator : torch.Generator
        Source of randomness.

    name : str
        The loss, for messages.

    Returns
    -------
    centers : tensor of shape (n_classes, n_bits), dtype float32
        Codes of -1 and +1.

    Raises
    ------
    ValueError
        If there are more classes than codes.
    """
    check_codes_suffice(n_classes, n_bits, name=name)
    is_power_of_two = n_bits & (n_bits - 1) == 0
    draw = hadamard_centers if is_power_of_two and n_classes <= 2 * n_bits else bernoulli_centers
    return torch.from_numpy(draw(n_classes, n_bits, random_state=draw_seed(generator))).float()


def draw_tie_breaker(n_bits, generator):
    """Draw the code that decides ties in `majority_centers`.

    Parameters
    ----------
    n_bits : int
        Code length.

    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    tie_breaker : tensor of shape (n_bits,), dtype float32
        A code of -1 and +1.
    """
    return torch.randint(2, (n_bits,), generator=generator).float() * 2 - 1


def majority_centers(targets, centers, tie_breaker):
    """Find the centre of each sample: that of its class, or the majority of those of its classes, bit by bit.

    Parameters
    ----------
    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a sample, else 0.

    centers : tensor of shape (n_classes, n_bits), dtype float
        Codes of -1 and +1.

    tie_breaker : tensor of shape (n_bits,), dtype float
        The code that ties go to: samples with the same classes have the same centre.

    Returns
    -------
    centers : tensor of shape (n, n_bits), dtype of `targets`
        Codes of -1 and +1.
    """
    votes = targets @ centers.to(targets.dtype)
    return torch.where(votes == 0, tie_breaker.to(targets.dtype), votes.sign())
