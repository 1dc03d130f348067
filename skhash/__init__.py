"""Learning to hash with the scikit-learn API."""

__version__ = "0.1.0"
