"""Train a network. Train environment only.

One generator decides everything: the same seed, recipe and thread count give the same network,
also when training was interrupted and resumed at any step. The test split is never looked at;
a part split off the training set chooses the best epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from labd_host.networks import brevitas_model as models
from labd_host.networks.checkpoint import CheckpointFolder
from labd_host.networks.fused import Fused
from labd_host.networks.table import NetworkSpec, recipe_of
from labd_host.networks.training_progress import Progress
from labd_shared.errors import BuildError, UsageError

SAVE_EVERY_S = 30.0  # what a killed training loses at most, besides one step
EVALUATION_BATCH = 500
SHIFT = 4  # pixels, at most, that an augmented image is shifted by
CHECKPOINT_VERSION = 3
TEMPERATURE = 2.0  # that a teacher's answers are softened by, as usual for distillation


@dataclass(frozen=True, eq=False)
class Start:
    """Weights that somebody published.

    Attributes:
        state: Parameters by name.
        source: Where they come from.
    """

    state: dict[str, Any]
    source: str


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network whose answers another one learns from.

    Attributes:
        model: In evaluation mode; takes the same images and has the same classes.
        source: Where it comes from, with its digest.
    """

    model: torch.nn.Module
    source: str


@dataclass
class TrainingState:
    """Where a training stands: what a checkpoint holds besides weights and optimiser."""

    epoch: int = 0  # epochs that are done
    step: int = 0  # steps done in the one that is not
    loss_sum: float = 0.0  # over those steps
    hits: int = 0  # images of those steps that were classified correctly
    best_epoch: int = 0
    best_correct: int = -1
    log: list[dict[str, Any]] = field(default_factory=list)  # an entry an epoch


class Training:
    """One training of one network on one training set."""

    def __init__(
        self,
        network: NetworkSpec,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        folder: CheckpointFolder,
        *,
        seed: int,
        start: Start | None = None,
        teacher: Teacher | None = None,
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        """Split the set, draw the weights; or, where *folder* holds a checkpoint, take up from there.

        Args:
            network: With its recipe.
            images, labels: The training split, uint8 (n, height, width, channels) and (n,).
            folder: Holds the checkpoints.
            seed: Decides weights, split and order.
            start: Weights to begin with, instead of drawn ones.
            teacher: Where the recipe has distillation.
            device: "cpu" or "cuda".
            compiled: Whether torch.compile compiles the layers; it needs a C++ compiler.

        Raises:
            UsageError: no recipe, a teacher is missing or unused, or the checkpoint was made with other settings.
            ArtifactError: the checkpoint is damaged.
        """
        self.network, self.recipe, self.folder, self.seed = network, recipe_of(network), folder, seed
        self._start, self._teacher, self._device = start, teacher, device
        if bool(self.recipe.distillation) != (teacher is not None):
            raise UsageError(
                f"the recipe has distillation {self.recipe.distillation} and there is "
                f"{'a' if teacher else 'not a'} teacher",
                fix="give both: --teacher FOLDER --recipe distillation=0.5",
            )
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        held_out, kept = order[: self.recipe.validation], order[self.recipe.validation :]
        if len(kept) < 2:  # batch normalisation has no variance of less
            raise UsageError(
                f"{len(images)} training images leave {len(kept)} after {len(held_out)} for validation",
                fix="train on the whole training set, or split fewer off",
            )
        pixels = torch.from_numpy(images[held_out.numpy()].transpose(0, 3, 1, 2).copy())
        classes = torch.from_numpy(labels.astype(np.int64))
        self._validation = pixels, classes[held_out]
        self._images = framed(torch.from_numpy(images[kept.numpy()])).to(device)
        self._labels = classes[kept].to(device)
        # A short last batch is left out: batches are drawn anew in every epoch.
        self.steps = max(1, len(kept) // self.recipe.batch)
        torch.manual_seed(seed)
        self.model = models.build(network, latent_scale=self.recipe.latent_scale, dropout=self.recipe.dropout)
        if start is not None:
            models.load_weights(self.model, network, start.state)
        self.model.to(device, memory_format=torch.channels_last)  # the faster one; the same values
        dtype = torch.bfloat16 if self.recipe.precision == "bfloat16" else torch.float32
        self._fused = Fused(self.model, network, dtype, compiled=compiled)
        self._optimizer = self._new_optimizer()
        self.state = TrainingState()
        if saved := folder.load_last(self.settings()):
            self.model.load_state_dict(saved["model"])
            self._optimizer.load_state_dict(saved["optimizer"])
            torch.set_rng_state(saved["generator"])
            if device == "cuda" and saved["device_generator"] is not None:
                torch.cuda.set_rng_state(saved["device_generator"])
            self.state = TrainingState(**saved["state"])

    def settings(self) -> dict[str, Any]:
        """What decides the result; a checkpoint of other settings is refused."""
        made_by = {"checkpoint_version": CHECKPOINT_VERSION, "network": self.network.name, "seed": self.seed}
        if self._start is not None:
            made_by["pretrained"] = self._start.source
        if self._teacher is not None:
            made_by["teacher"] = self._teacher.source
        return {**made_by, "images": len(self._images), **asdict(self.recipe)}

    def run(self, tell: Callable[[Progress], None], stopping: Callable[[], bool]) -> bool:
        """Train to the last epoch, telling after every step.

        Args:
            tell: Called after every step.
            stopping: Asked after every step; when it says yes a checkpoint is written.

        Returns:
            Whether training reached its end; False when it was stopped.
        """
        saved_at_s = time.monotonic()
        while self.state.epoch < self.recipe.epochs:
            order, views = (each.to(self._device) for each in self._order(self.state.epoch))
            self._begin_epoch()
            while self.state.step < self.steps:
                part = slice(self.state.step * self.recipe.batch, (self.state.step + 1) * self.recipe.batch)
                self._step(order[part], views[part])
                tell(self._progress())
                if stopping():
                    self._save()
                    return False
                if time.monotonic() - saved_at_s > SAVE_EVERY_S:
                    self._save()
                    saved_at_s = time.monotonic()
            self._finish_epoch()
        self._save()
        return True

    def check_best(self) -> None:
        """Make sure that the two checkpoints agree on which epoch is the best so far.

        Raises:
            UsageError: no epoch has ended, or the training was killed between writing the one and the other.
        """
        if not self.state.best_epoch:
            raise UsageError(
                f"no epoch of the training in {self.folder.path} has ended",
                fix="labd train --resume, without --finish",
            )
        epoch, known = self.folder.load_best()["epoch"], self.state.best_epoch
        if epoch != known:
            raise UsageError(
                f"{self.folder.best} is of epoch {epoch}, {self.folder.last} has epoch {known} as the best",
                fix="train on until the next checkpoint (labd train --resume), then again",
            )

    def best(self) -> torch.nn.Module:
        """The model of the best epoch, ready to be evaluated or exported."""
        self.model.load_state_dict(self.folder.load_best()["model"])
        self.model.eval()
        return self.model

    @property
    def done_steps(self) -> int:
        """Steps done since the first epoch."""
        return self.state.epoch * self.steps + self.state.step

    @property
    def all_steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.steps

    @property
    def validation_samples(self) -> int:
        """Images split off the training set."""
        return len(self._validation[1])

    @property
    def validation_images(self) -> torch.Tensor:
        """Those images: uint8 (n, channels, height, width)."""
        return self._validation[0]

    def _order(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The shuffle of *epoch* and how each image of it is seen, see `augmented`.

        From a generator of its own, so that it needs no saving.
        """
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch + 1)
        order = torch.randperm(len(self._images), generator=generator)
        shifts = torch.randint(0, 2 * SHIFT + 1, (len(order), 2), generator=generator)
        mirrored = torch.randint(0, 2, (len(order), 1), generator=generator)
        return order, torch.cat([shifts, mirrored], dim=1)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.recipe.learning_rate, fused=True)

    def _begin_epoch(self) -> None:
        """Be in training mode, with the weights of the epoch's part: float ones first, where the recipe says so."""
        self.model.train()
        self._fused.float_weights = self.state.epoch < self.recipe.float_epochs
        if self.recipe.float_epochs and (self.state.epoch, self.state.step) == (self.recipe.float_epochs, 0):
            self._optimizer = self._new_optimizer()  # what it knew was of the other weights

    def _learning_rate(self) -> float:
        """Of the next step: it rises over the first steps, then a cosine brings it down, in each part anew."""
        recipe = self.recipe
        first, last = (
            (0, recipe.float_epochs)
            if self.state.epoch < recipe.float_epochs
            else (recipe.float_epochs, recipe.epochs)
        )
        done = self.done_steps - first * self.steps
        cosine = 0.5 * (1 + math.cos(math.pi * done / ((last - first) * self.steps)))
        share = recipe.final_learning_rate + (1 - recipe.final_learning_rate) * cosine
        return recipe.learning_rate * share * min(1.0, (done + 1) / max(1, recipe.warmup_steps))

    def _step(self, batch: torch.Tensor, views: torch.Tensor) -> None:
        self._optimizer.param_groups[0]["lr"] = self._learning_rate()
        labels = self._labels[batch]
        planes = seen(self._images, batch, views if self.recipe.augment else None)
        logits = self._fused(planes)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self._teacher is not None:
            share = self.recipe.distillation
            loss = (1 - share) * loss + share * self._distance(self._teacher.model, logits, planes)
        found = float(loss.detach())
        if not math.isfinite(
            found
        ):  # the weights of the last checkpoint are well: nothing of this step is kept
            raise BuildError(
                f"the loss is {found} in epoch {self.state.epoch + 1}, step {self.state.step + 1}, "
                f"at a learning rate of {self.recipe.learning_rate:g}",
                fix=f"train anew in another folder with --recipe learning_rate={self.recipe.learning_rate / 10:g}",
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        models.clip_weights(self.model)
        self.state.step += 1
        self.state.loss_sum += found
        self.state.hits += int((logits.argmax(1) == labels).sum())

    def _distance(self, teacher: torch.nn.Module, logits: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        """Kullback-Leibler divergence of softened answers from the teacher's."""
        bfloat16 = self.recipe.precision == "bfloat16"
        with torch.no_grad(), torch.autocast(self._device, torch.bfloat16, enabled=bfloat16):
            wanted = teacher(as_input(planes)).float()
        return TEMPERATURE**2 * functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, 1),
            functional.log_softmax(wanted / TEMPERATURE, 1),
            reduction="batchmean",
            log_target=True,
        )

    def _finish_epoch(self) -> None:
        state = self.state
        correct = count_correct(self.model, *self._validation)
        entry = asdict(self._progress())
        entry.update(
            validation_percent=100.0 * correct / self.validation_samples,
            learning_rate=self._optimizer.param_groups[0]["lr"],
        )
        # Of equals the later one: the smaller step has settled it. With float weights it is another network.
        best = correct >= state.best_correct and state.epoch >= self.recipe.float_epochs
        state.epoch, state.step, state.loss_sum, state.hits = state.epoch + 1, 0, 0.0, 0
        if best:
            state.best_epoch, state.best_correct = state.epoch, correct
        entry["best_percent"] = self._best_percent()
        state.log.append(entry)
        if best:  # the best first: after a kill in between, this epoch is done again and gives the same
            self.folder.save_best({"model": self.model.state_dict(), "epoch": state.epoch})
            self._save()
        self.folder.write_log(state.log)

    def _save(self) -> None:
        self.folder.save_last(
            {
                "settings": self.settings(),
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "generator": torch.get_rng_state(),
                "device_generator": torch.cuda.get_rng_state() if self._device == "cuda" else None,
                "state": asdict(self.state),
            }
        )

    def _best_percent(self) -> float | None:
        if not self.state.best_epoch:
            return None
        return 100.0 * self.state.best_correct / self.validation_samples

    def _progress(self) -> Progress:
        state = self.state
        seen = min(state.step * self.recipe.batch, len(self._images))
        return Progress(
            epoch=state.epoch + 1,
            epochs=self.recipe.epochs,
            step=state.step,
            steps=self.steps,
            loss=state.loss_sum / max(state.step, 1),
            train_percent=100.0 * state.hits / max(seen, 1),
            validation_percent=state.log[-1]["validation_percent"] if state.log else None,
            best_percent=self._best_percent(),
        )


def framed(images: torch.Tensor) -> torch.Tensor:
    """Images (n, height, width, channels) with a black frame as wide as they are shifted at most."""
    return functional.pad(images, (0, 0, SHIFT, SHIFT, SHIFT, SHIFT))


def seen(images: torch.Tensor, batch: torch.Tensor, views: torch.Tensor | None) -> torch.Tensor:
    """The images of a step as an epoch sees them: shifted, black where nothing is, some mirrored.

    Args:
        images: As `framed` makes them, uint8.
        batch: Integers (n,): which of them.
        views: Integers (n, 3): rows and columns to shift by, 0 to 2 * SHIFT with SHIFT for none, and 1 to mirror;
            None for the images as they are.

    Returns:
        uint8 planes (n, channels, height, width), channels last in memory.
    """
    height, width = (side - 2 * SHIFT for side in images.shape[1:3])
    if views is None:
        inner = images[:, SHIFT : SHIFT + height, SHIFT : SHIFT + width]
        return inner[batch].permute(0, 3, 1, 2)
    rows = views[:, 0, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(len(batch), width)
    columns = views[:, 1, None] + torch.where(views[:, 2, None] > 0, width - 1 - columns, columns)
    return images[batch[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def as_input(planes: torch.Tensor) -> torch.Tensor:
    """uint8 planes (n, channels, height, width) as the network takes them: float32, pixel / 255."""
    return planes.to(torch.float32) / 255.0


def logits_of(model: torch.nn.Module, planes: torch.Tensor) -> torch.Tensor:
    """Logits (n, classes) of uint8 planes, on the CPU; *model* is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [model(as_input(part.to(device))).cpu() for part in planes.split(EVALUATION_BATCH)]
    return torch.cat(parts)


def count_correct(model: torch.nn.Module, planes: torch.Tensor, labels: torch.Tensor) -> int:
    """How many of uint8 planes *model* classifies as *labels* say."""
    return int((logits_of(model, planes).argmax(1) == labels).sum())
