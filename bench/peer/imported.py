"""anomalib's side of `bench.imported`: trains models, writes their files, and scores images. Runs in the peer's
environment; imports nothing of edge-ad.

patchcore-inspection itself needs old packages: its files are written as its code writes them, and its features come
from the operators of torch that its `_embed` calls.
"""

from __future__ import annotations

import json
import pickle
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.deploy import ExportType
from anomalib.engine import Engine
from anomalib.models import Padim, Patchcore
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision import transforms

from bench.peer import LAYERS
from bench.peer.models import load_weights

warnings.filterwarnings("ignore")

MEAN, STD, SIDE = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 1024
MODELS = {  # kind -> its class, its layers, and what else it is made with
    "patchcore": (Patchcore, LAYERS, {"coreset_sampling_ratio": 0.05}),
    "padim": (Padim, ["layer1", *LAYERS], {}),
}
GOOD, ROWS = 16, 1000  # images to train on, and rows of the memory
NORMALIZE = transforms.Normalize(MEAN, STD)
CROPPED = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE])


def make(category: str, weights: str, out: str) -> None:
    """Writes for each kind of `MODELS` a folder with ``model.ckpt``, ONNX and IR, and the folder ``inspection``."""
    folder, root = Path(out), Path(category)
    part = folder / "part"
    for name, count in (("train/good", GOOD), ("test/good", GOOD // 2)):
        (part / name).mkdir(parents=True)
        for path in sorted((root / name).iterdir())[:count]:
            (part / name / path.name).symlink_to(path.absolute())
    defect = sorted(path for path in (root / "test").iterdir() if path.name != "good")[0]
    (part / "test/defect").mkdir()
    for path in sorted(defect.iterdir())[: GOOD // 2]:
        (part / "test/defect" / path.name).symlink_to(path.absolute())
    for kind in MODELS:
        _train(kind, part, folder / kind, weights)
    _write_inspection(folder / "inspection", sorted((part / "train/good").iterdir()), weights)


def _train(kind: str, part: Path, out: Path, weights: str) -> None:
    cls, layers, more = MODELS[kind]
    torch.manual_seed(0)
    pre = cls.configure_pre_processor(image_size=(128, 128))
    model = cls("resnet18", layers=layers, pre_processor=pre, pre_trained=False, **more)
    load_weights(model.model.feature_extractor, torch.load(weights, weights_only=True))
    names = {"normal_dir": "train/good", "abnormal_dir": "test/defect", "normal_test_dir": "test/good"}
    data = Folder("part", root=part, num_workers=0, train_batch_size=4, eval_batch_size=4, **names)
    engine = Engine(default_root_dir=out, max_epochs=1, accelerator="cpu", logger=False, devices=1)
    engine.fit(model, datamodule=data)
    for form in (ExportType.ONNX, ExportType.OPENVINO):
        engine.export(model, form, export_root=out)
    next(out.rglob("*.ckpt")).rename(out / "model.ckpt")


def _write_inspection(folder: Path, images: list[Path], weights: str) -> None:
    net = _resnet(weights)
    patches = np.concatenate([_embed(net, CROPPED(Image.open(path).convert("RGB"))) for path in images])
    rows = patches[np.random.default_rng(0).permutation(len(patches))[:ROWS]]
    folder.mkdir()
    header = struct.pack("<4siqqqBiQ", b"IxF2", rows.shape[1], len(rows), 1 << 20, 1 << 20, 1, 1, rows.size)
    (folder / "nnscorer_search_index.faiss").write_bytes(header + np.ascontiguousarray(rows).tobytes())
    params = {"backbone.name": "resnet18", "layers_to_extract_from": tuple(LAYERS), "input_shape": (3, 224, 224)}
    params |= {"pretrain_embed_dimension": SIDE, "target_embed_dimension": SIDE, "patchsize": 3, "patchstride": 1}
    params |= {"anomaly_scorer_num_nn": 1}
    (folder / "patchcore_params.pkl").write_bytes(pickle.dumps(params, pickle.HIGHEST_PROTOCOL))


def _resnet(weights: str) -> nn.Module:
    net = torchvision.models.resnet18(weights=None).eval()
    net.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    return net


@torch.no_grad()
def _embed(net: nn.Module, image: torch.Tensor) -> np.ndarray:
    """(h*w, D): windows by unfold, those of the deeper layer moved to the grid of the first, two adaptive averages."""
    found = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image[None])))))
    layers = [fine := net.layer2(found), net.layer3(fine)]
    lines = []
    for layer in layers:
        windows = functional.unfold(layer, 3, padding=1)[0].reshape(-1, 1, *layer.shape[-2:])
        windows = functional.interpolate(windows, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        lines.append(functional.adaptive_avg_pool1d(windows.flatten(1).T[:, None], SIDE)[:, 0])
    return functional.adaptive_avg_pool1d(torch.cat(lines, 1)[:, None], SIDE)[:, 0].numpy()


@torch.no_grad()
def score(kind: str, model: str, weights: str, pixels: str, out: str) -> None:
    """Scores of (n, H, W, 3) u8 BGR tensors, and of the files themselves, by the tool."""
    with np.load(pixels) as given:
        tensors, files = given["pixels"], given["files"].tolist()
    images = [torch.from_numpy(tensor[:, :, ::-1].copy()).permute(2, 0, 1).float() / 255 for tensor in tensors]
    if kind == "inspection":
        net, raw = _resnet(weights), (Path(model) / "nnscorer_search_index.faiss").read_bytes()
        rows = np.frombuffer(raw, "<f4", offset=45).reshape(-1, SIDE).astype(np.float64)

        def one(image: torch.Tensor) -> float:
            patches = _embed(net, image).astype(np.float64)
            squares = (patches**2).sum(1)[:, None] - 2 * patches @ rows.T + (rows**2).sum(1)
            return float(np.sqrt(squares.min(1).max()))

        found = [one(NORMALIZE(image)) for image in images]
        own = [one(CROPPED(Image.open(path).convert("RGB"))) for path in files]
    else:
        peer = MODELS[kind][0].load_from_checkpoint(model, map_location="cpu", weights_only=False).eval()
        whole = peer.pre_processor.transform
        found = [float(peer.model(NORMALIZE(image)[None]).pred_score.reshape(-1)[0]) for image in images]
        read = (read_image(path, as_tensor=True)[None] for path in files)
        own = [float(peer.model(whole(image)).pred_score.reshape(-1)[0]) for image in read]
    Path(out).write_text(json.dumps({"same": found, "own": own}))


if __name__ == "__main__":
    {"make": make, "score": score}[sys.argv[1]](*sys.argv[2:])
