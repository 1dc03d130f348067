"""The space in which `NestedHash` learns: kernel discriminants and fillers, and a rotation of them for each block."""

import numpy as np
from scipy import linalg
from sklearn.utils import check_random_state

from ..centers import bit_blocks
from ._blocks import single_threaded_blas
from ._codewords import first_words
from ._linear_algebra import discriminant_directions, procrustes_rotation, random_rotation, with_fixed_signs
from ._statistics import RunningStatistics

# The first anchors suffice for directions that only fill codes up.
FEW_ANCHORS = 1000


class NestedSpace:
    """What is learned from, in coordinates whose inner products approximate the kernel.

    Parameters
    ----------
    kernel : RootKernel
        The kernel.

    classes : ClassStatistics
        Of the kernels of labelled rows.

    unlabelled : RunningStatistics or None
        Of the kernels of rows without a label and the first anchors.

    Raises
    ------
    ValueError
        If all classes have the same mean.
    """

    def __init__(self, kernel, classes, unlabelled):
        self.lower, self.mean = kernel.cholesky(), classes.mean
        few = slice(min(len(kernel), FEW_ANCHORS))
        labelled = RunningStatistics(classes.n_samples, self.mean[few], classes.scatter[few, few])
        self.rows = merge_unless_none(labelled, unlabelled)
        self._discriminants, self._fillers = {}, {}
        self.n_classes, self.present = len(classes.weights), np.flatnonzero(classes.weights > 0)
        self.n_samples = classes.n_samples
        self.shares = classes.weights[self.present] / classes.n_samples
        with single_threaded_blas():
            self.offsets = self._solve_lower((classes.means[self.present] - self.mean).T).T
            self.within = self._in_coordinates(classes.scatter_within / classes.n_samples)
        between = (self.offsets**2).sum(axis=1) @ self.shares
        if not between > 1e-12:
            raise ValueError(
                f"NestedHash: the labelled rows are of {len(self.present)} classes whose means are all the same; pass "
                "rows of classes that differ."
            )
        # Of the rows around the mean of all, so that it is not 0 where there is one row a class.
        self.variance = np.trace(self.within) + between

    def _solve_lower(self, columns, *, transposed=False):
        lower = self.lower[: len(columns), : len(columns)]
        return linalg.solve_triangular(lower, columns, lower=True, trans=int(transposed), check_finite=False)

    def _in_coordinates(self, scatter):
        """Compute ``L^-1 A L^-T`` for a symmetric A, in half the operations of two triangular solves."""
        lower = self.lower[: len(scatter), : len(scatter)]
        found, _ = linalg.lapack.dsygst(scatter, lower, itype=1, lower=1)
        return np.tril(found) + np.tril(found, -1).T

    def coordinates(self, kernels):
        """Map kernels of rows, as they are, to coordinates around the mean of all rows."""
        with single_threaded_blas():
            return self._solve_lower((kernels - self.mean).T).T

    def weights(self, directions):
        """Turn what coordinates are multiplied by into what kernels are multiplied by."""
        with single_threaded_blas():
            return self._solve_lower(directions, transposed=True)

    def discriminants(self, ridge):
        """Compute W S, of shape (n_anchors, n_discriminants)."""
        if ridge not in self._discriminants:
            regularized = self.within.copy()
            regularized.flat[:: len(regularized) + 1] += ridge * self.variance / self.n_samples
            between = (self.offsets * np.sqrt(self.shares)[:, None]).T
            directions, strengths = discriminant_directions(self, regularized, 0.0, between)
            self._discriminants[ridge] = directions * np.sqrt(strengths.mean() / strengths)
        return self._discriminants[ridge]

    def fillers(self, n_directions):
        """Compute V, of shape (n_first_anchors, n_directions) at most, from all rows and the first anchors."""
        if n_directions not in self._fillers:
            self._fillers[n_directions] = self._find_fillers(n_directions)
        return self._fillers[n_directions]

    def _find_fillers(self, n_directions):
        n_anchors = len(self.rows.mean)
        with single_threaded_blas():
            scatter = self._in_coordinates(self.rows.scatter / self.rows.n_samples)
            means = linalg.orth(self.offsets[:, :n_anchors].T)
            # Twice, from either side.
            scatter -= means @ (means.T @ scatter)
            scatter -= (scatter @ means) @ means.T
            n_directions = min(n_directions, n_anchors - means.shape[1])
            if n_directions < 1:
                return np.zeros((n_anchors, 1))
            variances, components = linalg.eigh(
                (scatter + scatter.T) / 2, subset_by_index=[n_anchors - n_directions, n_anchors - 1]
            )
        components = with_fixed_signs(components[:, ::-1].T).T
        largest = variances[-1]
        return components / np.sqrt(largest) if largest > 1e-12 else np.zeros_like(components)

    def solve(self, ridge, residual, lengths, seed, centers=None):
        """Learn all blocks, for given centres or new ones.

        Parameters
        ----------
        ridge, residual : float
            The settings.

        lengths : tuple of int
            Ends of the blocks.

        seed : int
            Of codewords and rotations.

        centers : ndarray of shape (n_classes, n_bits), default=None
            Centres to keep.

        Returns
        -------
        directions : ndarray of shape (n_anchors, n_bits)
            What coordinates are multiplied by.

        centers : ndarray of shape (n_classes, n_bits), dtype int8
            Zeros for a class without rows.
        """
        random = check_random_state(seed)
        discriminants = self.discriminants(ridge)
        prototypes = self.offsets @ discriminants
        blocks = bit_blocks(lengths)
        if centers is None:
            centers = np.zeros((self.n_classes, lengths[-1]), dtype=np.int8)
            centers[self.present] = first_words(prototypes, lengths, random)
        words = centers[self.present]
        n_empty = [max(0, block.stop - block.start - discriminants.shape[1]) for block in blocks]
        fillers = self.fillers(sum(n_empty)) if residual and sum(n_empty) else None
        directions = np.zeros((len(self.lower), lengths[-1]))
        first_filler = 0
        for block, empty in zip(blocks, n_empty, strict=True):
            with single_threaded_blas():
                rotation = procrustes_rotation(words[:, block].T @ prototypes)
                directions[:, block] = discriminants @ rotation
            # Drawn for every block, so that one does not depend on what another needed.
            frame = random_rotation(block.stop - block.start, random)
            if empty and fillers is not None:
                used = np.arange(first_filler, first_filler + empty) % fillers.shape[1]
                with single_threaded_blas():
                    spare = frame[:empty] - (frame[:empty] @ rotation.T) @ rotation
                    directions[: len(fillers), block] += (
                        residual * filler_weight(block) * fillers[:, used] @ procrustes_rotation(spare.T)
                    )
                first_filler += empty
        return directions, centers


def filler_weight(block):
    """Say how many times more fillers weigh in a block than in a code that is one block.

    Each block holds all discriminants anew, in fewer bits than the code up to its end has.
    """
    return block.stop / (block.stop - block.start)


def unlabelled_statistics(kernel, X, targets):
    """Accumulate the statistics of the first kernels of rows without a label; None if all have one."""
    unlabelled = np.setdiff1d(np.arange(len(targets)), targets.labelled)
    return kernel.first(FEW_ANCHORS).running_statistics(X, unlabelled) if len(unlabelled) else None


def merge_unless_none(first, second):
    """Merge statistics, either of which may be None."""
    if first is None or second is None:
        return second if first is None else first
    return first.merge(second)
