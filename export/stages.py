"""The stages that an export shares with the runtime: graph, engine, crop, region of interest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.cpu import default_threads, detect_cpu
from edge_ad.crop import Crop
from edge_ad.engines import Engine, Models, choose_engine, installed_engines, open_engine
from edge_ad.errors import ParityError
from edge_ad.probes import relative_difference
from edge_ad.spec import BackboneSpec, FrameSpec, RoiSpec
from export.features import tensors
from export.network import Network
from export.openvino_ir import to_ir
from export.options import Options
from export.region import Region, patch_mask, region_crop, tensor_mask
from export.summary import Summary

PARITY = 1e-3  # largest relative difference between torch, ONNX and IR; f32 gives some 1e-6
_FILL_IMAGES = 50  # good images that the mean colour is taken from

Arrays = dict[str, "NDArray[Any] | bytes"]


class Stages:
    """The stages of the runtime as the bundle will have them, and the members that they need.

    Attributes:
        frame, backbone, roi: specs of the bundle.
        graph: the backbone graph.
        mask, patch_mask: of the region of interest; None without one.
        members: models and masks, by the names of FORMAT.md.
        crop, engine: stages ready to run.
    """

    def __init__(
        self, options: Options, network: Network, frame: FrameSpec, region: Region | None, goods: list[Path]
    ) -> None:
        self.frame, self.network = frame, network
        size = options.input_size
        box = region_crop(region, size, options.halo) if region else (0, 0, *size)
        self.graph = network.graph((box[2] - box[0], box[3] - box[1]))
        self.backbone = BackboneSpec(
            name=network.name,
            layers=network.layers,
            mean=network.mean,  # type: ignore[arg-type]
            std=network.std,  # type: ignore[arg-type]
            weights=network.weights,
            weights_sha256=network.sha256,
            input_size=size,
            crop=box,
            grid=self.graph.grid,
            dim=self.graph.dim,
        )
        self.roi: RoiSpec | None = None
        self.mask: NDArray[np.uint8] | None = None
        self.patch_mask: NDArray[np.bool_] | None = None
        self.members = self._models(options.to)
        if region:
            self._add_region(region, options, goods)
        self.crop = Crop(frame, self.backbone, self.roi, self.mask)
        self.engine = self._open(options)

    @property
    def rows(self) -> NDArray[np.int32] | None:
        return None if self.patch_mask is None else np.flatnonzero(self.patch_mask).astype(np.int32)

    @property
    def patch_count(self) -> int:
        grid = self.backbone.grid
        return grid[0] * grid[1] if self.patch_mask is None else int(self.patch_mask.sum())

    def _models(self, to: str) -> Arrays:
        data = self.graph.model.SerializeToString()
        members: Arrays = {"model.onnx": data} if to != "openvino" else {}
        if to != "onnx":
            members["model.xml"], members["model.bin"] = to_ir(data)
        return members

    def _add_region(self, region: Region, options: Options, goods: list[Path]) -> None:
        mask = tensor_mask(region, self.backbone.crop, options.input_size)
        patches = patch_mask(mask, self.backbone.grid)
        whole = Crop(self.frame, self.backbone, None, None)
        chosen = goods[:: max(1, len(goods) // _FILL_IMAGES)]
        colors = [tensor[0][mask > 0].mean(axis=0) for tensor in tensors(chosen, self.frame, whole)]
        blue, green, red = (int(c) for c in np.rint(np.mean(colors, axis=0)))
        self.roi = RoiSpec(region.source, region.box, options.halo, (blue, green, red))
        self.mask, self.patch_mask = mask, patches
        self.members["roi/mask"] = mask
        self.members["roi/patch_mask"] = patches.astype(np.uint8)

    def models(self) -> Models:
        """What the engines may run, from the members."""
        ir = (self.members["model.xml"], self.members["model.bin"]) if "model.xml" in self.members else None
        return Models(onnx=self.members.get("model.onnx"), ir=ir)  # type: ignore[arg-type]

    def _open(self, options: Options, engine: str = "auto") -> Engine:
        models = self.models()
        if models.ir is not None and options.to == "openvino":
            engine = "openvino"
        name = choose_engine(engine, models, detect_cpu(), installed_engines())
        threads = options.threads or default_threads()
        return open_engine(name, models, device="CPU", threads=threads, precision="f32")

    def prove_parity(self, summary: Summary) -> None:
        """Compares torch, ONNX and IR on seeded noise, the hardest picture there is; says what came out.

        Raises:
            ParityError: two of them differ by more than `PARITY`.
        """
        generator = np.random.default_rng(0)
        tensor = generator.integers(0, 256, (1, *self.backbone.tensor_size, 3), dtype=np.uint8)
        ours = self.engine(tensor)
        others = {self.network.name: self.network.reference_patches(tensor, self.graph)}
        models, threads = self.models(), default_threads()
        for name in installed_engines():
            if name != self.engine.name and (models.onnx is not None or name == "openvino"):
                other = open_engine(name, models, device="CPU", threads=threads, precision="f32")
                others[name] = other(tensor)
        found = {name: relative_difference(theirs, ours) for name, theirs in others.items() if theirs is not None}
        for name, difference in found.items():
            label = "torch" if name == self.network.name else name
            summary.say("parity", f"{self.engine.name} against {label}: {difference:.1e} relative")
            if not difference <= PARITY:
                raise ParityError(
                    f"the backbone graph differs between {self.engine.name} and {label}",
                    expected=f"at most {PARITY:g} relative",
                    got=f"{difference:.3g}",
                    remedy="This backbone cannot be exported faithfully; please report it.",
                )
