"""The packed-code contract against hand-written values and naive oracles."""

import numpy as np
import pytest
from bitarray import bitarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from skhash.codes import (
    asymmetric_tables,
    bitarrays_from_codes,
    check_codes,
    code_width,
    codes_from_bitarrays,
    codes_from_hex,
    hamming_distances,
    hex_from_codes,
    pack_bits,
    paired_hamming_distances,
    reverse_bit_order,
    to_signs,
    to_words,
    truncate_codes,
    unpack_codes,
)

bit_arrays = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70))
code_arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20))


def bits_by_hand(value, n_bits):
    """The binary digits of a byte string, most significant first, written without NumPy."""
    return [int(digit) for byte in value for digit in f"{byte:08b}"][:n_bits]


def test_first_bit_is_highest_bit_of_first_byte():
    assert pack_bits([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]]).tolist() == [[128, 0b01100000]]


@given(bit_arrays)
def test_pack_agrees_with_digits_written_by_hand(bits):
    codes = pack_bits(bits)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(bits), code_width(bits.shape[1]))
    for row, code in zip(bits, codes, strict=True):
        padded = bits_by_hand(code, 8 * len(code))
        assert padded[: len(row)] == row.astype(int).tolist()
        assert not any(padded[len(row) :])


@given(bit_arrays)
def test_unpack_inverts_pack(bits):
    unpacked = unpack_codes(pack_bits(bits), n_bits=bits.shape[1])
    assert unpacked.dtype == bool
    np.testing.assert_array_equal(unpacked, bits)


@given(bit_arrays)
def test_signs_and_bits_pack_alike(bits):
    codes = pack_bits(bits)
    signs = to_signs(codes, bits.shape[1], dtype=np.float32)
    assert signs.dtype == np.float32
    np.testing.assert_array_equal(signs, np.where(bits, 1, -1))
    np.testing.assert_array_equal(pack_bits(signs), codes)


@given(bit_arrays, st.data())
def test_truncation_equals_packing_fewer_bits(bits, data):
    n_bits = data.draw(st.integers(1, bits.shape[1]))
    np.testing.assert_array_equal(truncate_codes(pack_bits(bits), n_bits), pack_bits(bits[:, :n_bits]))


@given(code_arrays)
def test_hex_round_trip(codes):
    texts = hex_from_codes(codes)
    assert texts == ["".join(f"{byte:02x}" for byte in row) for row in codes]
    np.testing.assert_array_equal(codes_from_hex(texts), codes)
    np.testing.assert_array_equal(codes_from_hex(text.upper() for text in texts), codes)


@given(bit_arrays)
def test_bitarray_round_trip(bits):
    codes = pack_bits(bits)
    arrays = bitarrays_from_codes(codes, n_bits=bits.shape[1])
    assert arrays == [bitarray(row.tolist()) for row in bits]
    np.testing.assert_array_equal(codes_from_bitarrays(arrays), codes)


def test_little_endian_bitarrays_keep_their_reading_order():
    assert codes_from_bitarrays([bitarray("011", endian="little")]).tolist() == [[0b01100000]]


@settings(deadline=None)
@given(bit_arrays, st.data())
def test_hamming_distances_against_double_loop(bits, data):
    others = data.draw(hnp.arrays(bool, st.tuples(st.integers(1, 30), st.just(bits.shape[1]))))
    distances = hamming_distances(pack_bits(bits), pack_bits(others))
    assert distances.dtype == np.int32
    for i, row in enumerate(bits):
        for j, other in enumerate(others):
            assert distances[i, j] == sum(a != b for a, b in zip(row, other, strict=True))


def test_distances_of_several_blocks_against_unpacked_bits(monkeypatch):
    monkeypatch.setattr("skhash.codes._BLOCK_BYTES", 800)
    rng = np.random.RandomState(0)
    bits, others = rng.rand(57, 100) > 0.5, rng.rand(33, 100) > 0.5
    expected = (bits[:, None, :] != others[None, :, :]).sum(axis=2)
    np.testing.assert_array_equal(hamming_distances(pack_bits(bits), pack_bits(others)), expected)
    own = (bits[:, None, :] != bits[None, :, :]).sum(axis=2)
    np.testing.assert_array_equal(hamming_distances(pack_bits(bits)), own)


@pytest.mark.parametrize("n_bytes", [32, 1000, 8192, 9000])
def test_distances_of_long_codes_do_not_wrap(n_bytes):
    """Around 2^8 and 2^16 bits a counter of 8 or 16 bits would start again from 0."""
    ones, zeros = np.full((1, n_bytes), 255, np.uint8), np.zeros((1, n_bytes), np.uint8)
    assert hamming_distances(ones, zeros).tolist() == [[8 * n_bytes]]
    assert paired_hamming_distances(ones, zeros).tolist() == [8 * n_bytes]


@given(code_arrays)
def test_paired_distances_are_the_diagonal(codes):
    other = codes[::-1]
    np.testing.assert_array_equal(paired_hamming_distances(codes, other), np.diag(hamming_distances(codes, other)))


def test_check_codes_returns_the_same_array_where_nothing_is_to_do():
    codes = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert check_codes(codes) is codes


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64, object])
def test_check_codes_accepts_whole_numbers_of_any_dtype(dtype):
    values = np.array([[0, 1], [127, 64]])
    checked = check_codes(values.astype(dtype))
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, values)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        ([[0.5, 1.0]], ValueError, "got 0.5 at row 0"),
        ([[-1, 1]], ValueError, "Negative values"),
        ([[256, 1]], ValueError, "got 256"),
        ([[np.nan, 1.0]], ValueError, "NaN or infinity"),
        ([[np.inf, 1.0]], ValueError, "NaN or infinity"),
        ([[True, False]], TypeError, "pack_bits"),
        ([["a", "b"]], TypeError, "dtype"),
        (np.array([["12", 1]], dtype=object), TypeError, "number 0-255 each, got '12'"),
        ([1, 2], ValueError, "2D array"),
        (np.empty((0, 2), np.uint8), ValueError, "0 sample"),
        (np.empty((2, 0), np.uint8), ValueError, "0 feature"),
        (np.array([[1j]]), ValueError, "Complex data not supported"),
        (sparse.csr_matrix(np.eye(2)), TypeError, "toarray"),
    ],
)
def test_check_codes_refuses_in_one_line(codes, error, message):
    with pytest.raises(error, match=message) as raised:
        check_codes(codes, name="ITQ")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("ITQ: ")


def test_check_codes_compares_with_n_bits():
    with pytest.raises(ValueError, match="n_bits=17 needs codes of 3 bytes, got 2"):
        check_codes([[0, 0]], n_bits=17)
    with pytest.raises(ValueError, match="padding bit after bit 12"):
        check_codes([[0, 8]], n_bits=12)
    np.testing.assert_array_equal(check_codes([[0, 16]], n_bits=12), [[0, 16]])


def test_pack_bits_reads_rows_whatever_the_memory_order():
    bits = np.zeros((3, 16), dtype=bool)
    bits[0, 0] = bits[1, 9] = bits[2, 15] = True
    expected = [[128, 0], [0, 64], [0, 1]]
    np.testing.assert_array_equal(pack_bits(bits), expected)
    np.testing.assert_array_equal(pack_bits(np.asfortranarray(bits)), expected)
    np.testing.assert_array_equal(pack_bits(bits[::-1]), expected[::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_bits_with_gaps_in_memory_do_not_crash(dtype):
    """NumPy 2.0.0 compared them with -1, and read what was not there."""
    bits = np.zeros((4, 22), dtype=dtype)
    bits[:, ::2] = [1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1]
    np.testing.assert_array_equal(pack_bits(bits[:, ::2]), [[0b10110001, 0b10100000]] * 4)
    with pytest.raises(ValueError, match="values must be all 0/1 or all -1/"):
        pack_bits(np.broadcast_to(np.array([131, 208, 152], dtype=dtype), (4, 3)))
    np.testing.assert_array_equal(pack_bits(np.ones((2, 16), dtype=dtype)[:, ::2]), [[255], [255]])


@pytest.mark.parametrize("bits", [[[0, 1, -1]], [[0.5, 1.0]], [[2, 1]], [["a"]], [1, 0], np.empty((0, 3)), [[np.nan]]])
def test_pack_bits_refuses_what_is_ambiguous(bits):
    with pytest.raises(ValueError, match="pack_bits"):
        pack_bits(bits)


def test_tables_cost_the_bits_that_differ_and_no_padding():
    # Query 0 has bits 1 0 and, in the second byte, 1; a projection of 0 costs nothing either way.
    tables = asymmetric_tables(np.array([[2.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.5, 4.0], [0.0] * 9]))
    assert tables.shape == (2, 2, 256)
    assert tables.dtype == np.float64
    assert tables[0, 0, [0b10000000, 0b00000000, 0b11000001, 0b01111111]].tolist() == [0.0, 2.0, 3.5, 5.5]
    assert tables[0, 1, [0b10000000, 0b11111111, 0b00000000, 0b01111111]].tolist() == [0.0, 0.0, 4.0, 4.0]
    assert not tables[1].any()


@pytest.mark.parametrize("n_bits", [0, -3])
def test_code_width_refuses_no_bits(n_bits):
    with pytest.raises(ValueError, match=f"n_bits={n_bits}"):
        code_width(n_bits)


@pytest.mark.parametrize("n_bits", [1.0, "8", None, True])
def test_code_width_refuses_what_is_no_integer(n_bits):
    with pytest.raises(TypeError, match="integer"):
        code_width(n_bits)


def test_truncation_beyond_the_code_is_refused():
    with pytest.raises(ValueError, match=r"n_bits=17 must be <= 8 \* n_bytes=16"):
        truncate_codes([[0, 0]], 17)


@pytest.mark.parametrize("texts", [[], [""], ["ff", "f"], ["fff"], ["zz"], ["f f"], [" f f"]])
def test_bad_hex_is_refused(texts):
    with pytest.raises(ValueError, match="codes_from_hex"):
        codes_from_hex(texts)


@pytest.mark.parametrize("arrays", [[], [bitarray()], [bitarray("01"), bitarray("011")]])
def test_bad_bitarrays_are_refused(arrays):
    with pytest.raises(ValueError, match="codes_from_bitarrays"):
        codes_from_bitarrays(arrays)


def test_codes_of_different_widths_are_not_compared():
    with pytest.raises(ValueError, match="1 bytes cannot be compared with codes of 2 bytes"):
        hamming_distances([[0]], [[0, 0]])
    with pytest.raises(ValueError, match="2 and 1 codes"):
        paired_hamming_distances([[0], [1]], [[0]])


def test_unsigned_signs_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        to_signs([[0]], dtype=np.uint8)


def test_words_of_codes_that_begin_anywhere_in_memory_count_the_same_bits():
    rng = np.random.RandomState(0)
    codes = rng.randint(0, 256, (50, 8)).astype(np.uint8)
    memory = np.empty(50 * 8 + 1, dtype=np.uint8)
    shifted = memory[1:].reshape(50, 8)
    shifted[:] = codes
    words = to_words(shifted)
    assert words.flags.aligned
    np.testing.assert_array_equal(words[0], codes.view(np.uint64)[:, 0])
    assert np.shares_memory(to_words(codes), codes)


@pytest.mark.parametrize("n_bits", [1, 8, 13, 64])
def test_reversing_bits_gives_the_little_endian_packing_of_numpy_and_back(n_bits):
    bits = np.random.default_rng(0).integers(2, size=(50, n_bits)).astype(bool)
    little = np.packbits(bits, axis=1, bitorder="little")
    np.testing.assert_array_equal(reverse_bit_order(pack_bits(bits)), little)
    np.testing.assert_array_equal(reverse_bit_order(little), pack_bits(bits))


def test_reversing_bits_checks_codes():
    with pytest.raises(ValueError, match="got 256 at row 0"):
        reverse_bit_order([[256]])


def test_objects_that_are_no_bytes_are_not_cast():
    """Complex numbers among objects lost their imaginary part, and large integers overflowed."""
    for value, error in [(np.complex128(1 + 2j), TypeError), (10**400, ValueError), (np.timedelta64(1), TypeError)]:
        with pytest.raises(error, match=r"^codes: ") as raised:
            check_codes(np.array([[1, value]], dtype=object))
        assert "\n" not in str(raised.value)


def test_masked_codes_are_refused():
    with pytest.raises(ValueError, match=r"^codes: 1 values are masked"):
        check_codes(np.ma.array([[1, 2]], mask=[[True, False]], dtype=np.uint8))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_lengths_in_integers_of_numpy_do_not_overflow(dtype):
    """The last byte was cut by 256 - 1, which 8 bits do not hold, or by numbers of another kind."""
    np.testing.assert_array_equal(truncate_codes([[255, 255]], dtype(11)), [[255, 0b11100000]])
    np.testing.assert_array_equal(truncate_codes([[255, 255]], dtype(16)), [[255, 255]])
    assert unpack_codes([[255, 224]], dtype(11)).shape == (1, 11)
    assert to_signs(np.zeros((30, 2), dtype=np.uint8), dtype(11)).shape == (30, 11)


@pytest.mark.parametrize("item", [16, 10**30, "0" * 16, [0, 1], None])
def test_what_is_no_bitarray_is_not_read_as_bits(item):
    """A number was read as that many zeros, or overflowed."""
    with pytest.raises(TypeError, match=r"^codes_from_bitarrays: item 1 is no bitarray"):
        codes_from_bitarrays([bitarray(16), item])


@pytest.mark.parametrize("item", [7, b"ff", None, np.arange(30).reshape(10, 3)])
def test_what_is_no_string_is_not_read_as_digits(item):
    with pytest.raises(TypeError, match=r"^codes_from_hex: item 1 is no string but ") as raised:
        codes_from_hex(["ff", item])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", ["no dtype", [("a", int), 3], 3.5])
def test_signs_of_no_dtype_are_refused_in_one_line(dtype):
    with pytest.raises(TypeError, match=r"^to_signs: dtype="):
        to_signs([[1]], dtype=dtype)
