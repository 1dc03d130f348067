"""Codewords of classes: those of the first fit, and further ones for classes that come later."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..centers import NestedCodebook, additional_nested_centers, bit_blocks
from ._itq import learn_rotation
from ._linear_algebra import random_rotation

# Turns between codes and rotation of the class means, where there are more discriminants than bits.
_N_TURNS = 50


def first_words(prototypes, lengths, random):
    """Give each class a codeword, similar classes near ones.

    Parameters
    ----------
    prototypes : ndarray of shape (n_classes, n_discriminants)
        Means of the classes.

    lengths : tuple of int
        Ends of the blocks. In one of fewer bits than discriminants, the words are learned.

    random : numpy.random.RandomState
        Source of the words and of the rotations that learning starts from.

    Returns
    -------
    words : ndarray of shape (n_classes, n_bits), dtype int8
        Of -1 and +1.
    """
    (n_classes, n_discriminants), n_bits = prototypes.shape, lengths[-1]
    blocks = bit_blocks(lengths)
    widest = max(block.stop - block.start for block in blocks)
    has_words = n_discriminants <= widest and n_classes <= 2**n_bits
    if has_words:
        codebook = NestedCodebook(n_classes, n_bits, prefixes=lengths[:-1], random_state=random)
        words = codebook.assign(prototypes).words.copy()
    else:
        words = np.empty((n_classes, n_bits), dtype=np.int8)
    first = 0
    for block in blocks:
        width = block.stop - block.start
        # Drawn for every block, so that one does not depend on what another needed.
        frame = random_rotation(width, random)
        if has_words and n_discriminants <= width:
            continue
        used = np.arange(first, first + min(width, n_discriminants)) % n_discriminants
        first += width
        rotation, _ = learn_rotation(prototypes[:, used], frame[: len(used)], _N_TURNS)
        words[:, block] = np.where(prototypes[:, used] @ rotation >= 0, 1, -1)
    return words


def further_words(words, projections, lengths, random):
    """Give new classes codewords far from all others, and near to where their means fall so far.

    Parameters
    ----------
    words : ndarray of shape (n_classes, n_bits)
        Codewords that are taken.

    projections : ndarray of shape (n_new_classes, n_bits)
        Where the means of the new classes fall.

    lengths : tuple of int
        Ends of the blocks.

    random : numpy.random.RandomState
        Source of the words.

    Returns
    -------
    further : ndarray of shape (n_new_classes, n_bits)
        Of -1 and +1: the signs of the projections where a block has fewer words than there are classes.
    """
    n_classes = len(words) + len(projections)
    if n_classes > 2 ** min(block.stop - block.start for block in bit_blocks(lengths)):
        return np.where(projections >= 0, 1, -1)
    further = additional_nested_centers(words, len(projections), lengths, random_state=random)
    _, order = linear_sum_assignment(projections @ further.T, maximize=True)
    return further[order]
