"""Writes the files of a format version that all later versions have to read. Run once per version, then keep them."""

import pathlib

import numpy as np
from sklearn.preprocessing import StandardScaler

from skhash import ITQ, HammingNearestNeighbors, NestedHash, RetrievalPipeline, save

FOLDER = pathlib.Path(__file__).parent / "format_1"


def main():
    """Write estimators, and what they answered when they were saved."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 6)), np.array(["cat", "dog", "owl"])[np.arange(60) % 3]
    X += 3 * rng.normal(size=(3, 6))[np.arange(60) % 3]
    codes = rng.integers(256, size=(60, 3), dtype=np.uint8)
    index = HammingNearestNeighbors(3).fit(codes, y, ids=np.arange(60) * 7).remove([14])
    pipeline = RetrievalPipeline(
        [("scale", StandardScaler()), ("hash", ITQ(6, random_state=0)), ("search", HammingNearestNeighbors(3))],
        rescore="float",
    )
    itq, nested = ITQ(6, random_state=0).fit(X), NestedHash(8, prefixes=(4,), n_anchors=12, random_state=0).fit(X, y)
    # Far from zero, where no other library of linear algebra rounds to another side.
    queries = X[np.minimum(abs(itq.project(X)).min(axis=1), abs(nested.project(X)).min(axis=1)) > 1e-3]
    FOLDER.mkdir()
    for name, estimator in {"itq": itq, "index": index, "pipeline": pipeline.fit(X, y), "nested": nested}.items():
        save(estimator, FOLDER / f"{name}.skhash", card={"Data": "Sixty random rows."} if name == "itq" else None)
    np.savez_compressed(
        FOLDER / "answers.npz",
        queries=queries,
        query_codes=codes[:9] ^ 1,
        itq=itq.transform(queries),
        nested=nested.transform(queries),
        index=index.kneighbors(codes[:9] ^ 1)[1],
        pipeline=pipeline.kneighbors(queries)[1],
    )


if __name__ == "__main__":
    main()
