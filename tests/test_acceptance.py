"""The whole on real images: a plain torch reference, and the accuracy that the methods have."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference is plain torch")
torchvision = pytest.importorskip("torchvision", reason="the reference is plain torch")
for package in ("onnx", "hnswlib"):
    pytest.importorskip(package, reason="the export needs it")

from edge_ad import Runtime  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.data.layouts import Category, load_category  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.metrics import binary_auroc  # noqa: E402
from export.options import IMAGENET_MEAN, IMAGENET_STD, Options  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.shared]
GOODS, TESTS, INPUT = 30, 12, 256


@pytest.fixture(scope="module")
def category(shared: Path) -> Category:
    return load_category(shared / "data" / "bottle")


@pytest.fixture(scope="module")
def bundle(category: Category, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resnet18 with trained weights, 30 good bottles, 1% coreset."""
    folder = tmp_path_factory.mktemp("bottle")
    goods = folder / "bottle"
    goods.mkdir()
    for path in category.train_good[:GOODS]:
        (goods / path.name).symlink_to(path.resolve())
    options = Options(
        str(goods),
        backbone="resnet18",
        to="both" if "openvino" in installed_engines() else "onnx",
        out=folder / "bottle.bundle",
        weights=shared / "weights" / "resnet18_to_layer3.pth",
        coreset=0.01,
        input_size=(INPUT, INPUT),
        resize="area",
        local_scale=0.0,
        smooth=0.0,
        effort="quick",
    )
    return export_bundle(options).bundle


@pytest.fixture(scope="module")
def network(shared: Path) -> torch.nn.Module:
    model = torchvision.models.resnet18(weights=None)
    state = torch.load(shared / "weights" / "resnet18_to_layer3.pth", weights_only=True)
    model.load_state_dict(state, strict=False)
    return model.eval()


def plain_patches(network: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    """(1024, 384) patches by the paper, in nothing but torch; the image has the size of the input already."""
    x = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].double() / 255
    x = (x - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    with torch.no_grad():
        net = network.double()
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        second = net.layer2(net.layer1(x))
        third = net.layer3(second)
        pooled = [torch.nn.functional.avg_pool2d(part, 3, 1, 1) for part in (second, third)]
        deep = torch.nn.functional.interpolate(pooled[1], second.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([pooled[0], deep], dim=1)[0].flatten(1).T


def test_against_plain_torch(bundle: Path, network: torch.nn.Module, category: Category, engine: str) -> None:
    runtime = Runtime(bundle, engine=engine, search="exact")  # type: ignore[arg-type]
    coreset = torch.from_numpy(np.array(Bundle.open(bundle).array("coreset"))).double()
    assert coreset.shape == (round(0.01 * GOODS * 1024), 384)
    defect = next(image.path for image in category.test if image.defect is not None)
    for path in (category.train_good[0], category.train_good[-1], defect):
        image = cv2.resize(cv2.imread(str(path)), (INPUT, INPUT), interpolation=cv2.INTER_AREA)
        expected = plain_patches(network, image)
        distances = (
            torch.cdist(expected, coreset, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values.numpy()
        )
        answer = runtime.probe(image)
        scale = float(expected.abs().max())
        np.testing.assert_allclose(answer.patches, expected.numpy(), atol=1e-4 * scale)
        largest = distances.max()
        # a patch that is a coreset row itself has distance 0: only rounding is left there, which has no relative size
        own = distances < 1e-5 * largest
        assert path != defect or not own.any()
        np.testing.assert_allclose(answer.distances[~own], distances[~own], rtol=1e-4)
        assert answer.distances[own].max(initial=0.0) < 1e-5 * largest
        assert runtime.inspect(image).score == pytest.approx(largest, rel=1e-4)


@pytest.mark.parametrize("search", ["exact", "graph"])
def test_bottles_are_told_apart(bundle: Path, category: Category, search: str, engine: str) -> None:
    runtime = Runtime(bundle, engine=engine, search=search)  # type: ignore[arg-type]
    goods = [image.path for image in category.test if image.defect is None][:TESTS]
    defects = [image.path for image in category.test if image.defect is not None]
    defects = defects[:: max(1, len(defects) // TESTS)][:TESTS]
    scores = [[verdict.score for verdict in runtime.inspect_many(paths)] for paths in (goods, defects)]
    assert binary_auroc(*scores) >= 0.95


def test_the_map_finds_the_defect(bundle: Path, category: Category) -> None:
    runtime = Runtime(bundle)
    found = []
    for image in [image for image in category.test if image.mask is not None][::8]:
        assert image.mask is not None
        truth = cv2.imread(str(image.mask), cv2.IMREAD_GRAYSCALE) > 127
        amap = runtime.inspect(image.path).anomaly_map
        assert amap.shape == truth.shape
        found.append(binary_auroc(amap[~truth][::7], amap[truth]))
    assert np.mean(found) >= 0.95


def test_both_searches_and_engines_give_the_same_scores(bundle: Path, category: Category) -> None:
    paths = [image.path for image in category.test][:: max(1, len(category.test) // 6)]
    scores = {
        (engine, search): [Runtime(bundle, engine=engine, search=search).inspect(p).score for p in paths]  # type: ignore[arg-type]
        for engine in installed_engines()
        for search in ("exact", "graph")
    }
    first = next(iter(scores.values()))
    for (engine, search), found in scores.items():
        assert found == pytest.approx(first, rel=1e-4), (engine, search)
    for engine in installed_engines():
        assert scores[engine, "exact"] == scores[engine, "graph"]


@pytest.fixture(scope="module")
def resnet18(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as an ONNX file, so that torch turns it into one once and not for every method."""
    from export.backbone import torchvision_backbone

    backbone = torchvision_backbone("resnet18", None, shared / "weights" / "resnet18_to_layer3.pth")
    path = tmp_path_factory.mktemp("network") / "resnet18.onnx"
    path.write_bytes(backbone.to_onnx((INPUT, INPUT)).SerializeToString())
    return path


@pytest.mark.parametrize(("method", "wanted"), [("patchcore", 0.99), ("padim", 0.98), ("knn", 0.97), ("spade", 0.97)])
def test_every_method_tells_bottles_apart(
    method: str, wanted: float, resnet18: Path, category: Category, shared: Path, tmp_path: Path
) -> None:
    """On all test images; a third of the good ones, a small coreset and short calibration, to be cheap."""
    bottle = tmp_path / "bottle"
    (bottle / "train/good").mkdir(parents=True)
    (bottle / "test").symlink_to((shared / "data/bottle/test").resolve())
    for path in category.train_good[::3]:
        (bottle / "train/good" / path.name).symlink_to(path.resolve())
    options = Options(
        str(bottle),
        to="onnx",
        out=tmp_path / "bottle.bundle",
        backbone=str(resnet18),
        layers=("layer2", "layer3"),
        method=method,
        coreset=0.01,
        calibration="split",
        input_size=(INPUT, INPUT),
        effort="quick",
    )
    runtime = Runtime(export_bundle(options).bundle)
    verdicts = zip(category.test, runtime.inspect_many(image.path for image in category.test), strict=True)
    scores: dict[bool, list[float]] = {False: [], True: []}
    for image, verdict in verdicts:
        scores[image.defect is not None].append(verdict.score)
    assert (len(scores[False]), len(scores[True])) == (20, 63)
    assert binary_auroc(scores[False], scores[True]) >= wanted
