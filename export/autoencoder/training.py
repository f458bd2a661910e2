"""The training: batches by seed and step, early stopping, checkpoints that go on as if never stopped."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ad.errors import BackboneError
from edge_ad.sources.prefetch import prefetch
from edge_ad.system.entry import say
from edge_ad.system.files import write_output
from edge_ad.system.progress import Progress
from export.autoencoder.corrupt import corrupt, pictures
from export.autoencoder.recipe import Recipe
from export.autoencoder.unet import UNet, pixel_errors
from export.relief import relief_patches

Tensors = NDArray[Any]  # (n, H, W, 3) as an engine takes them: u8 pixels, or float32 of normals
Batch = tuple[torch.Tensor, torch.Tensor]  # spoilt and good pictures, (N, 3, H, W)

_VALIDATION = 0.1  # of the pictures, that no step shows: they stop the training
_MOST_VALIDATION = 16
_FEW = 4  # of fewer pictures none can be spared: then new marks on those that were shown stop it
_LOOKS = 2  # times that each of those is spoilt, by marks that stay the same
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what the network adds to the usual normals: the first of the best is taken
_NO_NORMAL = 1e-3  # a shorter mean is none
_WARMUP = 0.05  # of the steps: the learning rate rises


class Training:
    """One training: network, optimiser, how far it is, and the best weights so far.

    Args:
        recipe: what decides the weights.
        tensors: the good pictures, as an engine takes them; they stay as they are, a quarter of the size of floats.
        device: where it computes.
    """

    def __init__(self, recipe: Recipe, tensors: Tensors, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self._device, self.step = recipe, device, 0
        order = np.random.default_rng([recipe.seed, 5]).permutation(len(tensors))
        spared = min(_MOST_VALIDATION, max(1, round(_VALIDATION * len(tensors)))) if len(tensors) >= _FEW else 0
        self._shown = tensors[np.sort(order[spared:])]
        self._spared = tensors[np.sort(order[:spared])] if spared else tensors
        self._unseen = self._validation(self._spared)
        usual = self._tensor(usual_normals(self._shown)) if recipe.normals else None
        self.network = UNet(recipe.width, usual).to(device)
        self._optimiser = torch.optim.Adam(self.network.parameters(), recipe.rate)
        self.curve: list[tuple[int, float, float]] = []  # step, loss since the last, loss of the unseen
        self._losses: list[float] = []
        self.best = copy.deepcopy(self.network.state_dict())
        self.digest = hashlib.sha256(tensors.tobytes()).hexdigest()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The best weights by name."""
        return {name: value.cpu().numpy().copy() for name, value in self.best.items()}

    def settle(self) -> float | None:
        """Chooses how much counts of what the network adds to the usual normals, and puts that into the best weights.

        Good pictures that no step has shown decide: the share of `_SHARES` with the least squares of the answers that
        are judged (`export.relief`). With 0 the reconstruction is the mean of the good pictures. The network sees no
        fine detail, so what lowers these errors takes no fine defect away.

        Returns:
            The share; None for pictures, of which everything counts.
        """
        if not self.recipe.normals:
            return None
        good, errors = pictures(self._spared[:_MOST_VALIDATION], normals=True), {}
        for share in _SHARES:
            self.network.load_state_dict(self.best)
            self.network.count_only(share)
            with torch.no_grad():
                found = [self.network(self._tensor(one[None])).cpu().numpy()[0].transpose(1, 2, 0) for one in good]
            answers = [relief_patches(one - own) for one, own in zip(good, found, strict=True)]
            errors[share] = float(np.mean([np.square(each, dtype=np.float64).mean() for each in answers]))
        chosen = min(_SHARES, key=lambda share: errors[share])
        self.network.load_state_dict(self.best)
        self.network.count_only(chosen)
        self.best = copy.deepcopy(self.network.state_dict())
        return chosen

    @property
    def done(self) -> bool:
        """Whether all steps are done, or the loss of the unseen pictures falls no more."""
        unseen = [row[2] for row in self.curve]
        since = len(unseen) - 1 - int(np.argmin(unseen)) if unseen else 0
        return self.step >= self.recipe.steps or since >= self.recipe.patience

    def batch(self, step: int) -> Batch:
        """The pictures of a step. They depend on seed and step alone, so another thread may make them ahead."""
        generator = np.random.default_rng([self.recipe.seed, 6, step])
        numbers = generator.integers(0, len(self._shown), self.recipe.batch)
        return self._spoilt(self._shown, numbers.tolist(), generator)

    def advance(self, batch: Batch) -> None:
        """One step.

        Raises:
            BackboneError: the loss is no number any more.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.rate * one_cycle(self.step, self.recipe.steps)
        loss = self._loss(batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.step += 1
        self._losses.append(float(loss.detach()))
        if not np.isfinite(self._losses[-1]):
            raise BackboneError("the training of the autoencoder diverged", expected="a finite loss", got="NaN or Inf")
        if self.step % self.recipe.every == 0 or self.step == self.recipe.steps:
            self._look()

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        file = io.BytesIO()
        torch.save(self._state(), file)
        write_output(path, [file.getbuffer()])

    def load(self, path: Path) -> bool:
        """Goes on from a checkpoint; False if it is of another recipe or other pictures, and nothing was changed.

        Raises:
            BackboneError: the file is none.
        """
        own = self._state()
        try:
            state = torch.load(path, map_location=self._device, weights_only=True)
            state = {name: state[name] for name in own}
            if any(state[name] != own[name] for name in ("recipe", "pictures")):
                return False
            self.step, self.curve = int(state["step"]), [tuple(row) for row in state["curve"]]
            self._losses = list(state["losses"])
            self.network.load_state_dict(state["best"])  # which is used at the end
            self.best = state["best"]
            self.network.load_state_dict(state["network"])
            self._optimiser.load_state_dict(state["optimiser"])
        except Exception as error:  # torch.load has no error class of its own
            raise BackboneError(
                f"cannot read the checkpoint {path}",
                expected="one of an export by --method autoencoder that was stopped",
                got=str(error)[:200],
                remedy="Move that file away, or give another --out.",
            ) from error
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "pictures": self.digest,
            "step": self.step,
            "curve": self.curve,
            "losses": self._losses,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": self.best,
        }

    def _look(self) -> None:
        with torch.no_grad():
            parts = [(float(self._loss(batch)), len(batch[0])) for batch in self._unseen]
        unseen = sum(loss * count for loss, count in parts) / sum(count for _, count in parts)
        if not self.curve or unseen < min(row[2] for row in self.curve):
            self.best = copy.deepcopy(self.network.state_dict())
        self.curve.append((self.step, float(np.mean(self._losses)), unseen))
        self._losses = []

    def _validation(self, tensors: Tensors) -> list[Batch]:
        generator = np.random.default_rng([self.recipe.seed, 7])
        numbers = [*range(len(tensors))][:_MOST_VALIDATION] * _LOOKS
        size = self.recipe.batch
        starts = range(0, len(numbers), size)
        return [self._spoilt(tensors, numbers[start : start + size], generator) for start in starts]

    def _spoilt(self, tensors: Tensors, numbers: list[int], generator: np.random.Generator) -> Batch:
        normals = self.recipe.normals
        good = pictures(tensors[numbers], normals=normals)
        spoilt = good.copy()
        for place in range(len(numbers)):
            other = pictures(tensors[int(generator.integers(len(tensors)))], normals=normals)
            if generator.random() < self.recipe.spoilt:
                spoilt[place] = corrupt(good[place], other, generator, normals=normals)
        return self._tensor(spoilt), self._tensor(good)

    def _tensor(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2))).to(self._device)

    def _loss(self, batch: Batch) -> torch.Tensor:
        """The errors that the graph measures; those of spoilt pixels weigh as much as all others."""
        spoilt, good = batch
        colour, structure = pixel_errors(good, self.network(spoilt))
        error = colour + 0.2 * structure
        changed = ((spoilt - good).abs().amax(1, keepdim=True) > 0.02).float()
        return error.mean() + (error * changed).sum() / changed.sum().clamp_min(1)


def usual_normals(tensors: Tensors) -> NDArray[np.float32]:
    """(1, H, W, 3) mean of normal maps, with length 1, or 0 where none of them has a normal."""
    mean = pictures(tensors.mean(axis=0, keepdims=True), normals=True)
    lengths = np.linalg.norm(mean, axis=3, keepdims=True)
    return np.where(lengths > _NO_NORMAL, mean / np.maximum(lengths, _NO_NORMAL), 0).astype(np.float32)


def choose_device(threads: int) -> torch.device:
    """A GPU where there is one; else the CPU, with so many threads. The same device gives the same weights."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def one_cycle(step: int, steps: int) -> float:
    """Share of the learning rate at a step: it rises in a line, then falls as a cosine."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return float(0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


def train(training: Training, checkpoint: Path | None) -> None:
    """Trains to the end, and writes a checkpoint at each look at the unseen pictures."""
    recipe = training.recipe

    def prepare(steps: Iterator[int]) -> Batch:
        return training.batch(next(steps))

    with Progress("training", recipe.steps, unit="steps") as progress:
        progress.update(training.step)
        if training.done:
            return
        kept = training.step
        try:
            for batch in prefetch(range(training.step, recipe.steps), prepare):
                training.advance(batch)
                progress.update()
                if training.step % recipe.every == 0 and checkpoint is not None:
                    training.save(checkpoint)
                    kept = training.step
                if training.done:
                    break
        except KeyboardInterrupt:
            progress.wipe()
            if kept:
                say(f"the training was stopped; the same command goes on from step {kept}: {checkpoint}")
            raise
