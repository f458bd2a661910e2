"""The training behind export.distill: a loss on patches, one step, checkpoints that go on as if never stopped.

The loss is taken where PatchCore looks: on the layers after 3x3 mean pooling, in the teacher's own scale. A channel's
error is weighed half by its variance and half equally, and an image's by how much its own patches vary, so that the
faint structure of an even surface counts as much as a crowded photograph.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_ad.errors import BackboneError
from edge_ad.sources.prefetch import prefetch
from edge_ad.system.files import write_output
from edge_ad.system.progress import Progress
from export.distill.images import ImagePool
from export.distill.onnx_file import save_onnx, student_onnx
from export.distill.options import Recipe
from export.distill.shape import AXES, LAYERS, WEIGHTS
from export.distill.student import TRUNK, Student, make_student
from export.options import IMAGENET_MEAN, IMAGENET_STD

HELD_OUT = 64  # crops
STATISTICS_BATCHES = 8
WARMUP_SHARE = 0.05  # of the steps: the learning rate rises
EMA_DECAY = 0.998
EVENNESS = 0.1  # smallest share of the usual variance that an image's error is divided by
CLIP_NORM = 1.0
SMALLEST = 48  # pixels of a side: below it pooling leaves nothing of the deep layer to tell apart

Batch = tuple[torch.Tensor, list[torch.Tensor]]  # images, and the teacher's layers


class Distillation:
    """One training: teacher, student, its moving average, optimiser, and how far it is."""

    def __init__(
        self, recipe: Recipe, images: ImagePool, teachers: tuple[nn.Module, nn.Module], device: torch.device
    ) -> None:
        self.recipe, self.images, self.device, self.step = recipe, images, device, 0
        torch.manual_seed(recipe.seed)
        channels = []
        for teacher in teachers:
            with torch.no_grad():
                probe = list(teacher(torch.zeros(1, 3, recipe.size, recipe.size)).values())
            _check_strides(recipe.size, [p.shape[2] for p in probe])
            channels.append([p.shape[1] for p in probe])
        self.student = make_student(teachers[0], channels[1]).to(device, memory_format=torch.channels_last)
        self.average = make_student(teachers[0], channels[1]).to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.student.state_dict())
        half = torch.bfloat16 if recipe.bf16 else torch.float32
        self._teachers = [teacher.to(device, half, memory_format=torch.channels_last).eval() for teacher in teachers]
        trunk = [p for name, p in self.student.named_parameters() if name.startswith(TRUNK)]
        branch = [p for name, p in self.student.named_parameters() if not name.startswith(TRUNK)]
        groups = [{"params": trunk, "share": recipe.trunk}, {"params": branch, "share": 1.0}]
        self._optimiser = torch.optim.AdamW(groups, recipe.rate, weight_decay=recipe.decay)
        self.curve: list[tuple[int, float, float]] = []
        self._spreads = self._measure()
        self._held_out = images.held_out(HELD_OUT)

    def prepare(self, pixels: NDArray[np.uint8]) -> Batch:
        """What a step needs that does not depend on the student, so that it can be made ahead in another thread."""
        image = self._tensor(pixels)
        return image, self._targets(image)

    def advance(self, batch: Batch) -> float:
        """One step; gives the loss."""
        for group in self._optimiser.param_groups:
            group["lr"] = group["share"] * self.recipe.rate * one_cycle(self.step, self.recipe.steps)
        loss = self._loss(self.student, *batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), CLIP_NORM)
        self._optimiser.step()
        self.step += 1
        decay = min(EMA_DECAY, self.step / (self.step + 10))
        with torch.no_grad():
            mine, averaged = list(self.student.parameters()), list(self.average.parameters())
            torch._foreach_lerp_(averaged, mine, 1 - decay)
        return loss.detach().item()

    def held_out_loss(self) -> float:
        """The average's loss on crops that no step shows."""
        parts = []
        for start in range(0, HELD_OUT, self.recipe.batch):
            batch = self.prepare(self._held_out[start : start + self.recipe.batch])
            with torch.no_grad():
                parts.append(self._loss(self.average, *batch).item() * len(batch[0]))
        return sum(parts) / HELD_OUT

    def axes(self) -> list[NDArray[np.float32]]:
        """For each layer of the average, (K, channels): its first K principal axes, times its `WEIGHTS`.

        Of what varies inside images after pooling; an axis points to where its largest component is positive.
        """
        maps: list[list[torch.Tensor]] = [[] for _ in LAYERS]
        for number in range(STATISTICS_BATCHES):
            pixels = self.images.batch(self.recipe.steps + number, self.recipe.batch)
            with torch.no_grad():
                for kept, layer in zip(maps, self.average(self._tensor(pixels)), strict=True):
                    places = _pooled(layer).flatten(2)
                    kept.append((places - places.mean(2, keepdim=True)).transpose(1, 2).flatten(0, 1))
        found = []
        for kept, count, weight in zip(maps, AXES, WEIGHTS, strict=True):
            values = torch.cat(kept).double()
            basis = torch.linalg.eigh(values.T @ values).eigenvectors.T.flip(0)[:count]
            largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
            found.append((weight * basis * largest.sign()).float().cpu().contiguous().numpy())
        return found

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        file = io.BytesIO()
        torch.save(self._state(), file)
        write_output(path, [file.getbuffer()])

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint of the same recipe.

        Raises:
            BackboneError: it cannot be read, or is of another recipe.
        """
        state = self._read(path)
        recipe = state["recipe"]
        if recipe != asdict(self.recipe):
            raise BackboneError(
                f"the checkpoint {path} is of another recipe",
                expected=asdict(self.recipe),
                got=recipe,
                remedy="Give the same options, or train anew without --resume.",
            )
        self.step, self.curve = state["step"], [tuple(row) for row in state["curve"]]
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])

    def start_from(self, path: Path) -> None:
        """Begins with the average of another training's checkpoint.

        Raises:
            BackboneError: it cannot be read, or is of a student of other channels.
        """
        average = self._read(path)["average"]
        try:
            self.student.load_state_dict(average)
            self.average.load_state_dict(average)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise BackboneError(
                f"the checkpoint {path} is of another student", expected="the same second teacher", got=error
            ) from error

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            return {name: state[name] for name in self._state()}
        except Exception as error:  # torch.load has no error class of its own
            raise BackboneError(
                f"cannot read the checkpoint {path}", expected="one written by this command", got=error
            ) from error

    def _state(self) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "curve": self.curve,
        }

    def _tensor(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        image = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 255  # channels last in memory
        mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(1, 3, 1, 1)
        return (image - mean) / torch.tensor(IMAGENET_STD, device=self.device).view(1, 3, 1, 1)

    def _targets(self, image: torch.Tensor) -> list[torch.Tensor]:
        """As the student gives them: both teachers' layers at stride 8, then both at stride 16."""
        with torch.no_grad():
            given = [list(one(image.to(next(one.parameters()).dtype)).values()) for one in self._teachers]
        return [layer.float() for both in zip(*given, strict=True) for layer in both]

    def _measure(self) -> list[tuple[torch.Tensor, float]]:
        """For each layer: the weight of each channel, and the usual weighted variance inside an image."""
        maps: list[list[torch.Tensor]] = [[] for _ in LAYERS]
        for number in range(STATISTICS_BATCHES):
            pixels = self.images.batch(self.recipe.steps + number, self.recipe.batch)
            for kept, layer in zip(maps, self._targets(self._tensor(pixels)), strict=True):
                kept.append(_pooled(layer))
        spreads = []
        for kept in maps:
            layer = torch.cat(kept)
            variance = layer.transpose(0, 1).flatten(1).var(1)
            weight = 1 / (variance + variance.mean())
            spreads.append((weight, _inside(layer, weight).mean().item()))
        return spreads

    def _loss(self, student: Student, image: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            given = student(image)
        losses = []
        for mine, target, (weight, usual) in zip(given, targets, self._spreads, strict=True):
            error = _pooled(mine.float() - target).square().mean((2, 3)) @ weight
            losses.append((error / (_inside(_pooled(target), weight) + EVENNESS * usual)).mean())
        return torch.stack(losses).mean()


def _pooled(layer: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(layer, 3, 1, 1)


def _inside(layer: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(N,) weighted variance between the places of each image."""
    return layer.flatten(2).var(2) @ weight


def _check_strides(size: int, sides: list[int]) -> None:
    if sides != [size // 8, size // 16] or size % 16 or size < SMALLEST:
        raise BackboneError(
            "the teacher's layers do not fit the student's",
            expected=f"two layers of strides 8 and 16, and a size of {SMALLEST} or more, divisible by 16",
            got=f"size {size}, layers with sides of {sides}",
        )


def one_cycle(step: int, steps: int) -> float:
    """Share of the learning rate at a step: it rises in a line, then falls as a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return float(0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


def train(distillation: Distillation, out: Path, every: int) -> None:
    """Trains to the end; every so many steps, and at the end, writes checkpoint, curve and ONNX."""
    recipe = distillation.recipe

    def prepare(numbers: Iterator[int]) -> Batch:
        return distillation.prepare(distillation.images.batch(next(numbers), recipe.batch))

    losses: list[float] = []
    with Progress("distilling", recipe.steps - distillation.step, unit="steps") as progress:
        for batch in prefetch(range(distillation.step, recipe.steps), prepare):
            losses.append(distillation.advance(batch))
            progress.update()
            if not np.isfinite(losses[-1]):
                raise BackboneError("the training diverged", got=losses[-1], remedy="Give a smaller --rate.")
            if distillation.step % every == 0 and distillation.step < recipe.steps:
                _report(distillation, out, losses)
                losses = []
    _report(distillation, out, losses)


def _report(distillation: Distillation, out: Path, losses: list[float]) -> None:
    """Writes where the training is; `losses` are those of the steps since the last time."""
    if losses:
        row = (distillation.step, float(np.mean(losses)), distillation.held_out_loss())
        distillation.curve.append(row)
        print("step {}: loss {:.4f}, held out {:.4f}".format(*row), file=sys.stderr, flush=True)
    _write(distillation, out)


def choose_device(name: str | None) -> torch.device:
    """The device of that name; without a name, a GPU where there is one.

    Raises:
        BackboneError: there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError("the device cannot be used", expected="cpu or cuda", got=f"{name!r}: {error}") from error
    return device


def set_threads(count: int | None) -> None:
    """Threads of torch for each of the two threads that work; None leaves torch's own choice."""
    if count is not None:
        torch.set_num_threads(count)


def _write(distillation: Distillation, out: Path) -> None:
    distillation.save(out.with_suffix(".ckpt"))
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("step", "loss", "held_out"))
    writer.writerows((step, f"{a:.5f}", f"{b:.5f}") for step, a, b in distillation.curve)
    write_output(out.with_suffix(".csv"), [table.getvalue().encode()])
    about = {name: str(value) for name, value in asdict(distillation.recipe).items()}
    about["trained_steps"] = str(distillation.step)
    save_onnx(student_onnx(distillation.average.arrays(), distillation.axes(), about), out)
