"""Image datasets, synthetic codes with known neighbors, and the splits of the retrieval protocols."""

from ._cifar10 import fetch_cifar10
from ._folder import load_image_folder
from ._mnist import fetch_fashion_mnist, fetch_mnist
from ._splits import retrieval_split, unseen_class_split
from ._synthetic import make_clustered_codes

__all__ = [
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "load_image_folder",
    "make_clustered_codes",
    "retrieval_split",
    "unseen_class_split",
]
