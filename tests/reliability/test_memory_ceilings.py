"""Calls stay below the ceilings of memory that docs/user_guide/memory.rst states.

Each runs in a process of its own that may not allocate more than its ceiling and its result beyond what it has before:
less than the input, so that a copy of it, which the same process tries in the end, fails. The limit is RLIMIT_DATA,
which counts private memory only: RLIMIT_AS would count the maps of the files themselves, and 64 MiB of address space
that the allocator reserves for every thread.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from skhash.codes import pack_bits

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="the limit and the reading of what is used are Linux's",
)

MIB = 2**20
# OpenBLAS keeps 32 MiB for each call that ever ran beside another, from then on, which may be below the limit.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LIMITED = """if True:
    import ctypes, gc, resource, sys, warnings
    import numpy as np
    import skhash
    warnings.simplefilter("error")

    def limit(n_bytes):
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except AttributeError:
            pass
        with open("/proc/self/status") as file:
            used = next(line for line in file if line.startswith("VmData"))
        allowed = 1024 * int(used.split()[1]) + int(n_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, resource.RLIM_INFINITY))

    def assert_too_low_for(function):
        try:
            function()
        except MemoryError:
            return
        raise AssertionError("the limit was no limit")

    def lift():
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)

"""


def run_limited(script, *arguments):
    """Run a script after `LIMITED`, and return what it printed."""
    lines = [line[4:] if line.startswith("    ") else line for line in script.splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + "\n".join(f"    {line}" for line in lines), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Files of 400,000 x 64 float32, 98 MiB, in 20 clusters, and their labels, of which the first ones are missing."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 20, 400_000)
    centers = rng.standard_normal((20, 64), dtype=np.float32)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (400_000, 64))
    for start in range(0, len(X), 20_000):
        part = y[start : start + 20_000]
        X[start : start + len(part)] = centers[part] + rng.standard_normal((len(part), 64), dtype=np.float32)
    X.flush()
    y[:100] = -1
    np.save(folder / "y.npy", y)
    return folder / "X.npy", folder / "y.npy"


FIT = """
    X, y = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])
    hasher = eval("skhash." + sys.argv[3])
    hasher.fit(np.array(X[100:3000]), y[100:3000])
    limit(float(sys.argv[4]))
    hasher.fit(X, y)
    assert_too_low_for(lambda: np.array(X))
    limited = hasher.transform(X[:1000])
    lift()
    assert np.array_equal(limited, hasher.fit(np.array(X), y).transform(np.array(X[:1000])))
    print(hasher.mean_ @ hasher.mean_)
"""


@pytest.mark.parametrize(
    ("hasher", "bytes_a_row"),
    [
        ("LSH(16, random_state=0)", 0),
        ("PCAH(16, random_state=0)", 0),
        ("CirculantHash(16, max_samples=2000, random_state=0)", 16),
        ("SpectralHash(16)", 0),
        ("DiscriminantITQ(16, random_state=0)", 16),
        # Projections of all rows, the bits of these, and those that changed.
        ("ITQ(16, max_iter=3, random_state=0)", 16 * (4 + 1 / 8 + 1)),
        # A fifth of the rows are held out of each trial of a ridge.
        pytest.param("DiscriminantITQ(16, ridge='auto', random_state=0)", 40, marks=pytest.mark.slow),
    ],
)
def test_fit_reads_a_map_block_by_block(rows, hasher, bytes_a_row):
    printed = run_limited(FIT, *rows, hasher, 32 * MIB + 400_000 * bytes_a_row)
    X, y = (np.load(path) for path in rows)
    mean = X[y >= 0].mean(axis=0, dtype=np.float64) if "Discriminant" in hasher else X.mean(axis=0, dtype=np.float64)
    if "Discriminant" not in hasher:
        assert float(printed) == pytest.approx(mean @ mean, rel=1e-4)


def test_unlabelled_rows_do_not_make_lda_hash_copy_the_others(rows):
    run_limited(FIT, *rows, "LDAHash(4)", 24 * MIB + 400_000 * (4 * 4 + 130))


def test_spectral_hash_keeps_no_projections_of_all_rows(rows):
    # 64 of them would be as much as the features.
    run_limited(FIT, *rows, "SpectralHash(64)", 24 * MIB)


ENCODE = """
    X = np.load(sys.argv[1], mmap_mode="r")
    hasher = skhash.ITQ(32, max_iter=3, random_state=0).fit(np.array(X[:3000]))
    hasher.transform(X[:3000]), hasher.project(X[:3000])
    limit(8 * 2**20 + len(X) * 4)
    codes = hasher.transform(X)
    limit(8 * 2**20 + len(X) * 32 * 4)
    projections = hasher.project(X)
    assert_too_low_for(lambda: np.array(X))
    lift()
    assert np.array_equal(codes, skhash.codes.pack_bits(projections >= 0))
    np.save(sys.argv[2], projections)
    np.savez(sys.argv[3], mean=hasher.mean_, W=hasher.components_.T @ hasher.rotation_)
"""


def test_encoding_reads_a_map_block_by_block(rows, tmp_path):
    run_limited(ENCODE, rows[0], tmp_path / "projections.npy", tmp_path / "hasher.npz")
    projections, hasher = np.load(tmp_path / "projections.npy"), np.load(tmp_path / "hasher.npz")
    expected = (np.load(rows[0]) - hasher["mean"]) @ hasher["W"]
    np.testing.assert_allclose(projections, expected, atol=2e-4)


OVERFLOW = """
    X = np.load(sys.argv[1], mmap_mode="r")
    hasher = skhash.PCAH(16).fit(np.array(X[:3000]))
    large = np.memmap(sys.argv[2], np.float32, "w+", shape=X.shape)
    large[-1] = 3e38
    hasher.transform(X[:3000])
    limit(16 * 2**20 + 2 * len(X))
    try:
        hasher.transform(large)
    except ValueError as error:
        print(error)
"""


def test_message_on_features_that_overflow_makes_no_copy_of_them(rows, tmp_path):
    printed = run_limited(OVERFLOW, rows[0], tmp_path / "large")
    assert printed.startswith("PCAH: features up to 3e+38 overflow")


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """A file of 8 million different codes of 64 bits, 61 MiB: each is its number times an odd constant."""
    path = tmp_path_factory.mktemp("codes") / "codes.npy"
    codes = np.lib.format.open_memmap(path, "w+", np.uint8, (8_000_000, 8))
    codes.view("<u8")[:, 0] = np.arange(8_000_000, dtype=np.uint64) * 0x9E3779B97F4A7C15
    codes.flush()
    return path


SEARCH = """
    codes = np.load(sys.argv[1], mmap_mode="r")
    seconds_to_compile = float(sys.argv[2])
    from skhash import _compiled
    _compiled.SECONDS_TO_COMPILE = seconds_to_compile
    queries = np.ascontiguousarray(codes[::400_000])
    small = skhash.HammingNearestNeighbors(1, radius=9).fit(np.array(codes[:30_000]))
    small.kneighbors(queries), small.radius_neighbors(queries)
    where = np.ones(len(codes), dtype=bool)
    where[::400_000] = False
    limit(32 * 2**20)
    search = skhash.HammingNearestNeighbors(1, radius=9).fit(codes)
    distances, ids = search.kneighbors(queries)
    assert ids.ravel().tolist() == list(range(0, len(codes), 400_000)) and not distances.any()
    # The other codes, 7,999,980 numbers of 8 bytes, would be 61 MiB.
    assert not np.isin(search.kneighbors(queries, where=where)[1], np.arange(0, len(codes), 400_000)).any()
    within, hits = search.radius_neighbors(queries)
    graph = search.radius_neighbors_graph(queries, mode="distance")
    assert_too_low_for(lambda: np.array(codes))
    lift()
    for query, (found, positions) in enumerate(zip(within, hits)):
        all_distances = np.bitwise_count(codes.view("<u8")[:, 0] ^ queries.view("<u8")[query, 0])
        expected = np.flatnonzero(all_distances <= 9)
        expected = expected[np.argsort(all_distances[expected], kind="stable")]
        assert np.array_equal(positions, expected) and np.array_equal(found, all_distances[expected])
        assert np.array_equal(graph[[query]].indices, expected)
    print(sum(map(len, hits)))
"""


@pytest.mark.parametrize("seconds_to_compile", ["0", "inf"])
def test_map_is_searched_piece_by_piece(codes, seconds_to_compile):
    if seconds_to_compile == "0":
        pytest.importorskip("numba")
    assert int(run_limited(SEARCH, codes, seconds_to_compile)) >= 20


HITS = """
    from skhash import _compiled
    _compiled.SECONDS_TO_COMPILE = float(sys.argv[1])
    codes = np.zeros((400_000, 8), dtype=np.uint8)
    search = skhash.HammingNearestNeighbors(radius=3).fit(codes)
    search.radius_neighbors(codes[:3])
    limit(600 * 2**20)
    try:
        search.radius_neighbors(codes[:200])
    except MemoryError as error:
        print(error)
    # What fits is found all the same: 8 million hits of 12 bytes.
    print(sum(map(len, search.radius_neighbors(codes[:20])[1])))
"""


@pytest.mark.parametrize("seconds_to_compile", ["0", "inf"])
def test_radius_that_holds_all_codes_is_refused_with_a_line_that_names_it(seconds_to_compile):
    if seconds_to_compile == "0":
        pytest.importorskip("numba")
    message, n_hits = run_limited(HITS, seconds_to_compile).splitlines()
    assert message.startswith("HammingNearestNeighbors: ")
    assert "a radius of 3, in which 200 queries have more than " in message
    assert message.endswith("ask for a smaller radius, or for fewer queries at a time.")
    assert int(n_hits) == 20 * 400_000


METRICS = """
    from skhash.metrics import average_precision_from_distances, mean_average_precision, precision_at_k
    codes = np.load(sys.argv[1], mmap_mode="r")[:2_000_000]
    # Numbers that Python keeps no objects of.
    labels = 1000 + np.arange(len(codes)) % 50_000
    step = 100_000
    mean_average_precision(codes[:20].copy(), codes[20:3000], labels[:20] % 7, labels[20:3000] % 7)
    limit(64 * 2**20 + len(codes) * (3 * 8 + 32))
    values = mean_average_precision(codes[::step].copy(), codes, labels[::step], labels, return_per_query=True)[1]
    precision = precision_at_k(codes[::step].copy(), codes, labels[::step], labels, k=1)
    assert_too_low_for(lambda: [labels.tolist() for _ in range(3)])
    lift()
    assert precision == 1.0
    for query in range(0, 20, 7):
        distances = np.bitwise_count(codes.view("<u8")[:, 0] ^ codes.view("<u8")[query * step, 0])
        expected = average_precision_from_distances(distances, labels == labels[query * step])
        assert abs(values[query] - expected) < 1e-9, (values[query], expected)
    print(len(values))
"""


def test_metrics_need_a_few_numbers_an_item_beside_the_codes(codes):
    assert run_limited(METRICS, codes) == "20"


PACKING = """
    from skhash.codes import check_codes, pack_bits, paired_hamming_distances, to_signs, unpack_codes
    packed = np.array(np.load(sys.argv[1], mmap_mode="r")[:1_000_000])
    unpacked, wide, reversed_codes = unpack_codes(packed), packed.astype(np.float64), np.array(packed[::-1])
    signs = np.where(unpacked, np.int8(1), np.int8(-1))
    mib = 2**20
    limit(8 * mib + packed.nbytes)
    from_signs = pack_bits(signs)
    assert_too_low_for(lambda: signs == 1)
    limit(8 * mib + packed.nbytes)
    from_wide = check_codes(wide)
    assert_too_low_for(lambda: np.floor(wide))
    limit(2 * mib + 4 * len(packed))
    paired = paired_hamming_distances(packed, reversed_codes)
    assert_too_low_for(lambda: packed ^ reversed_codes)
    limit(8 * mib + 2 * 64 * len(packed))
    to_signs_of_two_bytes = to_signs(packed, dtype=np.int16)
    assert_too_low_for(lambda: packed.astype(np.int64))
    lift()
    assert np.array_equal(from_signs, packed) and np.array_equal(from_wide, packed)
    assert np.array_equal(paired, np.unpackbits(packed ^ reversed_codes, axis=1).sum(axis=1))
    assert np.array_equal(to_signs_of_two_bytes, signs)
"""


def test_codes_are_checked_packed_and_compared_without_copies_of_all(codes):
    run_limited(PACKING, codes)


PIXELS = """
    images = list(np.random.default_rng(0).integers(0, 256, (2000, 64, 64), dtype=np.uint8))
    images[1] = "missing.png"
    features = skhash.PixelFeatures(image_size=64, color="gray", on_error="skip").fit(images)
    warnings.simplefilter("ignore")
    features.transform(images[:10])
    n_bytes = 4 * 64**2 * len(images)
    limit(16 * 2**20 + n_bytes)
    found = features.transform(images)
    assert_too_low_for(lambda: found.copy())
    assert found.shape == (1999, 64**2)
    assert np.array_equal(found[[0, 1, -1]], np.stack([images[i].ravel() / np.float32(255) for i in (0, 2, -1)]))
"""


def test_skipped_image_does_not_double_the_features():
    pytest.importorskip("PIL", reason="reads images with Pillow")
    run_limited(PIXELS)


def test_pack_bits_of_numbers_tells_bits_from_signs_over_all_blocks():
    # The first blocks could be either: they hold nothing but ones.
    bits = np.ones((3000, 512))
    np.testing.assert_array_equal(pack_bits(bits), np.full((3000, 64), 255))
    for value, other in ((0, -1), (-1, 0)):
        bits[1500, 3] = value
        assert pack_bits(bits)[1500, 0] == 0b11101111
        mixed = bits.copy()
        mixed[2999, 0] = other
        with pytest.raises(ValueError, match="all 0/1 or all -1/\\+1"):
            pack_bits(mixed)
