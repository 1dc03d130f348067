"""What is left of memory, and errors before it is asked for."""

import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from skhash import PCAH, HammingNearestNeighbors, KernelSupervisedHash, PixelFeatures, _memory, hashers
from skhash._memory import (
    SMALLEST_CHECKED,
    _left_by_first_version,
    _left_by_folders,
    _left_by_second_version,
    available_memory,
    check_allocation,
    in_words,
)
from skhash.centers import hadamard_centers
from skhash.codes import hamming_distances, spherical_hamming_distances, to_signs, unpack_codes

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is left of memory")
GIB = 2**30


@pytest.fixture
def left(monkeypatch):
    """A function that says how much memory is left, and that all allocations are checked."""

    def pretend(n_bytes):
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("skhash"):
                if hasattr(module, "available_memory"):
                    monkeypatch.setattr(module, "available_memory", lambda: (n_bytes, "the machine"))
                if hasattr(module, "SMALLEST_CHECKED"):
                    monkeypatch.setattr(module, "SMALLEST_CHECKED", 0)

    return pretend


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_sizes_in_words():
    assert [in_words(n) for n in (0, 1023, 3 * 2**19, 2**30, 5 * 2**40)] == [
        "0 bytes",
        "1,023 bytes",
        "1.5 MiB",
        "1.0 GiB",
        "5.0 TiB",
    ]


def test_more_than_is_left_is_refused(left):
    left(2 * GIB)
    check_allocation("Name", 2 * GIB, "a matrix", "use less")
    with pytest.raises(MemoryError) as error:
        check_allocation("Name", 3 * GIB, "a matrix", "use less")
    expected = "Name: 3.0 GiB of memory needed for a matrix, but the machine leaves 2.0 GiB; use less."
    assert str(error.value) == expected


def test_numbers_of_hundreds_of_digits_are_cut(left):
    left(2 * GIB)
    with pytest.raises(MemoryError) as error:
        check_allocation("Name", 10**800, f"{10**800:,} features of 7 images", "use less")
    cut = r"[\d,]{37}\.\.\."
    message = (
        rf"Name: {cut} TiB of memory needed for {cut} features of 7 images, but the machine leaves 2\.0 GiB; use less"
    )
    assert re.fullmatch(rf"{message}\.", str(error.value))


def test_small_allocations_read_nothing(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: pytest.fail("read what is left"))
    check_allocation("Name", SMALLEST_CHECKED - 1, "a matrix", "use less")


def write_files(folder, **contents):
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_group_of_second_version_leaves_what_it_has_not_used_and_could_give_back(tmp_path):
    write_files(
        tmp_path, memory__max=1000, memory__current=900, memory__swap__max=300, memory__swap__current=100,
        memory__stat="anon 500\nactive_file 10\ninactive_file 20\nslab_reclaimable 5",
    )  # fmt: skip
    assert _left_by_second_version(tmp_path, swap_free=10_000) == 1000 - 900 + 35 + 200
    # Swap that the group may use but the machine does not have.
    assert _left_by_second_version(tmp_path, swap_free=50) == 1000 - 900 + 35 + 50
    write_files(tmp_path, memory__max="max")
    assert _left_by_second_version(tmp_path, swap_free=0) is None


def test_group_of_first_version(tmp_path):
    write_files(
        tmp_path, memory__limit_in_bytes=1000, memory__usage_in_bytes=900,
        memory__stat="cache 1\nactive_file 3\ntotal_active_file 10\ntotal_inactive_file 20",
    )  # fmt: skip
    assert _left_by_first_version(tmp_path, swap_free=7) == 1000 - 900 + 30 + 7
    write_files(tmp_path, memory__limit_in_bytes=9223372036854771712)
    assert _left_by_first_version(tmp_path, swap_free=7) is None


def test_groups_around_a_group_count_too(tmp_path):
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    write_files(tmp_path / "outer", memory__max=1000, memory__current=800, memory__stat="anon 800")
    write_files(tmp_path / "outer" / "inner", memory__max=900, memory__current=100, memory__stat="anon 100")
    assert list(_left_by_folders(tmp_path, "/outer/inner", 0, _left_by_second_version)) == [800, 200]
    # In a container, the path may be one that only the host has.
    write_files(tmp_path, memory__max=500, memory__current=100, memory__stat="anon 100")
    assert list(_left_by_folders(tmp_path, "/docker/0123", 0, _left_by_second_version)) == [400]


@ON_LINUX
def test_no_more_is_left_than_the_machine_has():
    with open("/proc/meminfo", encoding="ascii") as file:
        sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in file if len(line.split()) == 3}
    n_bytes, limit = available_memory()
    assert 0 < n_bytes <= sizes["MemTotal"] + sizes["SwapTotal"]
    assert limit


@ON_LINUX
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limits_of_the_process_count(limit):
    script = f"""if True:
        import resource
        from skhash._memory import available_memory
        used = {{line.split(":")[0]: line.split()[1] for line in open("/proc/self/status") if "Vm" in line}}
        used = 1024 * int(used[{{"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}}["{limit}"]])
        resource.setrlimit(resource.{limit}, (used + 2**26, resource.RLIM_INFINITY))
        print(*available_memory(), sep="|")"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    n_bytes, name = done.stdout.strip().split("|")
    assert 2**25 < int(n_bytes) <= 2**26
    assert name == f"the limit of the process ({limit})"


@ON_LINUX
@pytest.mark.parametrize("function", [hamming_distances, spherical_hamming_distances])
def test_matrix_of_a_million_by_a_million_is_refused_at_once(function):
    codes = np.zeros((10**6, 1), dtype=np.uint8)
    with pytest.raises(MemoryError) as error:
        function(codes)
    assert_one_line(error, f"{function.__name__}: ", "1,000,000 queries and 1,000,000 codes", "skhash.neighbors")


@ON_LINUX
def test_a_million_neighbours_of_a_million_queries_are_refused_at_once():
    codes = np.zeros((10**6, 1), dtype=np.uint8)
    search = HammingNearestNeighbors().fit(codes)
    for find in (search.kneighbors, search.kneighbors_graph):
        with pytest.raises(MemoryError) as error:
            find(codes, n_neighbors=10**6)
        assert_one_line(error, "HammingNearestNeighbors: 10.9 TiB", "n_neighbors=1,000,000", "fewer")


@ON_LINUX
@pytest.mark.parametrize(
    "name",
    [
        "CCAITQ",
        "CirculantHash",
        "ColumnSampledHash",
        "DiscriminantITQ",
        "KernelSupervisedHash",
        "LSH",
        "MutualInformationHash",
        "NestedHash",
        "OnlineHadamardHash",
        "ShiftInvariantKernelLSH",
        "SpectralHash",
        "SphericalHash",
        "SupervisedDiscreteHash",
    ],
)
@pytest.mark.parametrize("integer", [int, np.int64])
def test_too_many_bits_are_refused_before_they_are_learned(name, integer):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 32)), np.arange(60) % 3
    n_bits = 10**12
    with pytest.raises(MemoryError) as error:
        getattr(hashers, name)(integer(n_bits)).fit(X, y)
    assert_one_line(error, f"{name}: ", "n_bits=1,000,000,000,000", "fewer bits", "leaves")


@ON_LINUX
def test_scatter_matrix_of_a_million_features_is_refused_at_once():
    with pytest.raises(MemoryError) as error:
        PCAH(4).fit(sparse.random_array((50, 10**6), density=1e-5, format="csr", random_state=0))
    assert_one_line(error, "PCAH: 14.6 TiB", "1,000,000 features", "LSH")


@ON_LINUX
def test_few_rows_of_a_huge_hadamard_matrix_take_no_more_than_themselves():
    centers = hadamard_centers(3, 2**20, random_state=0)
    assert centers.shape == (3, 2**20)
    # Different rows are orthogonal.
    np.testing.assert_array_equal(centers.astype(np.int64) @ centers.T, 2**20 * np.eye(3))
    with pytest.raises(MemoryError) as error:
        hadamard_centers(10**6, 2**40)
    assert_one_line(error, "hadamard_centers: ", "lower either")


def test_results_that_are_larger_than_what_is_left_are_refused(left):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 16)), np.arange(200) % 4
    hasher = PCAH(16).fit(X)
    kernels = KernelSupervisedHash(8, n_anchors=20, random_state=0)
    pixels = PixelFeatures(image_size=8, color="gray")
    images = np.zeros((50, 8, 8), dtype=np.uint8)
    codes = hasher.transform(X)
    left(50 * 8 * 8 * 4 - 1)
    for name, call, parts in (
        ("PCAH", lambda: hasher.project(X), ("200 rows", "n_bits=16", "fewer rows")),
        ("PixelFeatures", lambda: pixels.fit(images).transform(images), ("64 features of 50 images", "fewer images")),
        ("KernelSupervisedHash", lambda: kernels.fit(X, y), ("labelled rows", "max_samples")),
    ):
        with pytest.raises(MemoryError) as error:
            call()
        assert_one_line(error, f"{name}: ", *parts)
    left(200 * 16 - 1)
    for name, call in (("unpack_codes", unpack_codes), ("to_signs", to_signs)):
        with pytest.raises(MemoryError) as error:
            call(codes)
        assert_one_line(error, f"{name}: 3,200 bytes", "200 codes of 16 bits")
    left(200 * 2 - 1)
    with pytest.raises(MemoryError) as error:
        hasher.transform(X)
    assert_one_line(error, "PCAH: 400 bytes", "codes of 200 rows")
    with pytest.raises(MemoryError) as error:
        HammingNearestNeighbors().fit(codes)
    assert_one_line(error, "HammingNearestNeighbors: 400 bytes", "mmap_mode='r'")


def test_tables_for_which_there_is_no_room_are_refused_or_done_without(left):
    pytest.importorskip("numba")
    codes = np.random.default_rng(0).integers(0, 256, (300, 8), dtype=np.uint8)
    distances = hamming_distances(codes[:5], codes)
    search = HammingNearestNeighbors(3, algorithm="mih").fit(codes)
    left(300 * 8)
    with pytest.raises(MemoryError) as error:
        search.kneighbors(codes[:5])
    assert_one_line(error, "HammingNearestNeighbors: ", "tables of 300 codes", "algorithm='brute'")
    found = search.set_params(algorithm="brute").kneighbors(codes[:5])
    np.testing.assert_array_equal(found[0], np.sort(distances, axis=1)[:, :3])
