"""Parts of a batch on threads."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs torch networks")

from skhash.features._cnn_threads import map_parts, run_on_one_thread  # noqa: E402


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Recorder:
    """A function of batches that notes where and on how many OpenMP threads it ran."""

    def __init__(self):
        self.calls = []

    def __call__(self, batch):
        self.calls.append((len(batch), torch.get_num_threads(), threading.get_ident()))
        return (batch.sum(1) * 2).numpy()


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("n_images", [3, 4, 32])
def test_every_part_runs_on_one_thread_and_the_rows_keep_their_order(n_images):
    batch = torch.arange(2 * n_images).reshape(n_images, 2)
    recorder = Recorder()
    np.testing.assert_array_equal(map_parts(recorder, batch), 8 * np.arange(n_images) + 2)
    assert len(recorder.calls) == 3
    assert sum(n_rows for n_rows, _, _ in recorder.calls) == n_images
    assert {n_threads for _, n_threads, _ in recorder.calls} == {1}
    assert threading.get_ident() not in {thread for _, _, thread in recorder.calls}


@pytest.mark.usefixtures("three_threads")
def test_fewer_images_than_threads_run_together_on_all_threads():
    recorder = Recorder()
    np.testing.assert_array_equal(map_parts(recorder, torch.ones(2, 5)), [10, 10])
    assert recorder.calls == [(2, 3, threading.get_ident())]


@pytest.mark.usefixtures("three_threads")
def test_small_work_runs_on_one_thread():
    recorder = Recorder()
    np.testing.assert_array_equal(run_on_one_thread(lambda: recorder(torch.ones(2, 5))), [10, 10])
    assert [call[:2] for call in recorder.calls] == [(2, 1)]
    assert torch.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError):
        run_on_one_thread(lambda: 1 // 0)


@pytest.mark.usefixtures("three_threads")
def test_number_of_threads_of_the_caller_and_of_new_threads_is_left_alone():
    map_parts(Recorder(), torch.ones(6, 2))
    numbers = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert numbers == [3, 3]


@pytest.mark.usefixtures("three_threads")
def test_error_in_a_part_is_raised_and_no_thread_is_left():
    def fail(batch):
        raise ValueError(f"{len(batch)} images")

    with pytest.raises(ValueError, match="2 images"):
        map_parts(fail, torch.ones(6, 2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("skhash-network")]
