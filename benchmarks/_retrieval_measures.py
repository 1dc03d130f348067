"""What `retrieval.py` measures: a method is fitted to the rows of a cell, and ranks the database for the queries."""

import time

import numpy as np
from _retrieval_methods import at_length, average_precisions
from _retrieval_splits import UNLABELLED, chunks_of

from skhash.metrics import precision_recall_by_radius

# Parts in which the training rows of a stream arrive.
N_CHUNKS = 5

# Queries of the curves of precision and recall.
_CURVE_QUERIES = 1000


def measure_once(worker, lengths, chosen):
    """Fit on all training rows, and rank the database for the queries, clean and changed."""
    parts, method = worker.parts, worker.method
    n_bits = max(lengths) if lengths[0] else None
    n_labelled = int((parts.y != UNLABELLED).sum())
    model = worker.make(n_bits, chosen["setting"], n_labelled)
    start = time.perf_counter()
    model.fit(parts.X, parts.y)
    fit_seconds = time.perf_counter() - start
    outcomes = {}
    for n_bits in lengths:
        shorter = at_length(method, model, n_bits)
        start = time.perf_counter()
        codes = shorter.transform(parts.database) if hasattr(shorter, "transform") else None
        hash_seconds = time.perf_counter() - start
        for name in worker.outcomes():
            start = time.perf_counter()
            queries = _queries_under(name, worker, shorter, codes)
            values = average_precisions(
                shorter, queries, parts.database, parts.query_labels, parts.database_labels, codes
            )
            outcome = {
                "average_precisions": values,
                "fit_seconds": round(fit_seconds, 3),
                "hash_seconds": round(hash_seconds, 3),
                "score_seconds": round(time.perf_counter() - start, 3),
                "shared_by": len(lengths) * len(worker.outcomes()),
                **chosen,
                "fitted": _numbers_of(model),
            }
            if codes is not None and n_bits and worker.cell.protocol in ("seen", "unseen"):
                outcome["curve"] = _curve(shorter, queries, codes, parts, n_bits)
            outcomes[n_bits, name] = outcome
    return outcomes


def _queries_under(condition, worker, model, codes):
    """Change the queries as the condition says."""
    parts, seed = worker.parts, worker.cell.seed
    if condition.startswith("noise"):
        random = np.random.default_rng(seed)
        noise = random.standard_normal(parts.queries.shape, dtype=np.float32)
        return parts.queries + noise * parts.X.std(axis=0) * float(condition.split()[1])
    if condition == "attacked":
        from skhash.deep.adversarial import attack_queries, center_codes

        centers = center_codes(parts.query_labels, codes, parts.database_labels, n_bits=model.n_bits_)
        return attack_queries(model, parts.queries, scale=parts.X.std(axis=0), centers=centers, random_state=seed)
    return parts.queries


def _curve(model, queries, codes, parts, n_bits):
    rows = slice(0, _CURVE_QUERIES)
    curve = precision_recall_by_radius(
        model.transform(queries[rows]),
        codes,
        parts.query_labels[rows],
        parts.database_labels,
        n_bits=n_bits,
    )
    return {name: np.round(values, 5).tolist() for name, values in zip(("precision", "recall"), curve[:2], strict=True)}


def _numbers_of(model):
    """What a model has chosen by itself."""
    return {
        name: value
        for name, value in vars(model).items()
        if name.endswith("_") and isinstance(value, int | float | str | bool)
    }


def measure_stream(worker, lengths, chosen):
    """Let training rows arrive in chunks, and rank after each; hashers that cannot go on start again."""
    parts, method = worker.parts, worker.method
    chunks = chunks_of(parts.y, N_CHUNKS, worker.cell.seed)
    n_bits = max(lengths) if lengths[0] else None
    model = worker.make(n_bits, chosen["setting"], len(chunks[0]))
    outcomes = {}
    for number, chunk in enumerate(chunks, start=1):
        start = time.perf_counter()
        goes_on = hasattr(model, "partial_fit")
        if goes_on:
            model.partial_fit(parts.X[chunk], parts.y[chunk])
        else:
            rows = np.concatenate(chunks[:number])
            model = worker.make(n_bits, chosen["setting"], len(rows)).fit(parts.X[rows], parts.y[rows])
        fit_seconds = time.perf_counter() - start
        for n_bits_now in lengths:
            start = time.perf_counter()
            shorter = at_length(method, model, n_bits_now)
            values = average_precisions(
                shorter, parts.queries, parts.database, parts.query_labels, parts.database_labels
            )
            outcomes[n_bits_now, f"{number}/{N_CHUNKS}"] = {
                "average_precisions": values,
                "fit_seconds": round(fit_seconds, 3),
                "score_seconds": round(time.perf_counter() - start, 3),
                "shared_by": len(lengths),
                "goes_on": goes_on,
                **chosen,
            }
    return outcomes
