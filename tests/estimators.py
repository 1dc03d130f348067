"""Discovery of all public estimators, and a small instance or more of each for the common suites."""

import importlib
import inspect
import pkgutil
from importlib.util import find_spec

from sklearn.base import BaseEstimator
from sklearn.preprocessing import MinMaxScaler

import skhash
from skhash import (
    CCAITQ,
    ITQ,
    LSH,
    PCAH,
    AnchorGraphHash,
    CirculantHash,
    ColumnSampledHash,
    DeepSupervisedHasher,
    DeepUnsupervisedHasher,
    DiscriminantITQ,
    HammingNearestNeighbors,
    HammingNearestNeighborsTransformer,
    InductiveManifoldHash,
    IsotropicHash,
    KernelSupervisedHash,
    KMeansHash,
    LDAHash,
    MutualInformationHash,
    NestedHash,
    OnlineHadamardHash,
    RetrievalPipeline,
    ShiftInvariantKernelLSH,
    SketchingHash,
    SpectralHash,
    SphericalHash,
    SupervisedDiscreteHash,
)
from skhash.features import CNNFeatures, PixelFeatures
from skhash.hashers._base import BaseHasher

HAS_TORCH = find_spec("torch") is not None

# Can be imported without torch, but not fitted.
NEEDS_TORCH = [DeepSupervisedHasher, DeepUnsupervisedHasher]


def public_modules():
    """All importable modules of the package whose dotted names have no leading underscore."""
    yield skhash
    for module in pkgutil.walk_packages(skhash.__path__, "skhash."):
        if module.name.startswith("skhash.deep.") and not HAS_TORCH:
            continue
        if not any(part.startswith("_") for part in module.name.split(".")):
            yield importlib.import_module(module.name)


def public_estimators():
    """All estimator classes that a public module exports, by name."""
    found = {}
    for module in public_modules():
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BaseEstimator) and not inspect.isabstract(value):
                if not hasattr(value, "fit"):
                    # Settings of a training, which share parameters and cloning with estimators.
                    continue
                if value in NEEDS_TORCH and not HAS_TORCH:
                    continue
                found[name] = value
    return dict(sorted(found.items()))


# scikit-learn's checks fit on as few as two features, so hashers come with two bits.
SMALL_INSTANCES = {
    CirculantHash: [
        CirculantHash(2, max_iter=3, random_state=0),
        CirculantHash(5, learned=False, random_state=0),
    ],
    IsotropicHash: [IsotropicHash(2, random_state=0)],
    ShiftInvariantKernelLSH: [ShiftInvariantKernelLSH(2, random_state=0)],
    SphericalHash: [SphericalHash(2, max_iter=5, random_state=0)],
    AnchorGraphHash: [AnchorGraphHash(2, n_anchors=80, n_layers=layers, random_state=0) for layers in (1, 2)],
    # With embedding="tsne" a fit takes seconds, and float32 and float64 may end in other optima.
    InductiveManifoldHash: [InductiveManifoldHash(2, n_anchors=80, random_state=0)],
    KMeansHash: [KMeansHash(2, max_iter=5), KMeansHash(2, bits_per_subspace=1, max_iter=5)],
    CCAITQ: [CCAITQ(2, max_iter=5, random_state=0)],
    DiscriminantITQ: [DiscriminantITQ(2, random_state=0), DiscriminantITQ(2, ridge="auto", random_state=0)],
    ITQ: [ITQ(2, max_iter=5, random_state=0)],
    LDAHash: [LDAHash(2)],
    LSH: [LSH(2, random_state=0), LSH(13, orthogonal=True, random_state=0)],
    NestedHash: [
        NestedHash(2, n_anchors=200, random_state=0),
        NestedHash(11, prefixes=(3, 5), n_anchors=200, ridge=1.0, residual=0.2, random_state=0),
    ],
    MutualInformationHash: [MutualInformationHash(2, reservoir_size=20, random_state=0)],
    OnlineHadamardHash: [OnlineHadamardHash(2, random_state=0), OnlineHadamardHash(11, random_state=0)],
    PCAH: [PCAH(2), PCAH(2, rotation="random", random_state=0)],
    SupervisedDiscreteHash: [
        SupervisedDiscreteHash(2, random_state=0),
        SupervisedDiscreteHash(2, solver="closed_form", random_state=0),
    ],
    KernelSupervisedHash: [KernelSupervisedHash(2, max_iter=5, random_state=0)],
    ColumnSampledHash: [
        ColumnSampledHash(2, random_state=0),
        ColumnSampledHash(2, classifier="kernel", random_state=0),
    ],
    SketchingHash: [
        SketchingHash(2, random_state=0),
        SketchingHash(2, sketch_size=40, rotation="random", random_state=0),
    ],
    SpectralHash: [SpectralHash(2), SpectralHash(11)],
    HammingNearestNeighbors: [HammingNearestNeighbors()],
    HammingNearestNeighborsTransformer: [
        HammingNearestNeighborsTransformer(),
        HammingNearestNeighborsTransformer(radius=3, mode="connectivity"),
    ],
    CNNFeatures: [CNNFeatures(image_size=32)],
    PixelFeatures: [PixelFeatures(image_size=8)],
    # A first step that takes no sparse rows: Pipeline's own tag says so of any pipeline with a dense step in it.
    RetrievalPipeline: [
        RetrievalPipeline(
            [("scale", MinMaxScaler()), ("hash", LSH(2, random_state=0)), ("search", HammingNearestNeighbors())],
            **params,
        )
        for params in ({}, {"rescore": "asymmetric"}, {"rescore": "float", "n_candidates": 3})
    ],
}

if HAS_TORCH:
    SMALL_INSTANCES[DeepUnsupervisedHasher] = [
        DeepUnsupervisedHasher(2, loss=loss, network="linear", max_epochs=2, batch_size=32, random_state=0)
        for loss in ("greedyhash", "cibhash")
    ]
    SMALL_INSTANCES[DeepSupervisedHasher] = [
        DeepSupervisedHasher(2, loss="ce", network="linear", max_epochs=2, batch_size=32, random_state=0)
    ]

# Their input is images or file paths, so that checks which feed tables of numbers do not apply; their own tests say
# which of scikit-learn's checks run.
TAKES_IMAGES = [CNNFeatures, PixelFeatures]

ESTIMATORS = public_estimators()
HASHERS = {name: estimator for name, estimator in ESTIMATORS.items() if issubclass(estimator, BaseHasher)}


def instances(classes):
    """Small instances of the classes given; a class without an entry in the table is an error."""
    return [instance for cls in classes for instance in SMALL_INSTANCES[cls]]
