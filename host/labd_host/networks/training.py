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

from labd_host.networks import model as models
from labd_host.networks.checkpoint import Folder
from labd_host.networks.progress import Progress
from labd_host.networks.table import Network, recipe_of
from labd_shared.errors import UsageError

FINAL_LEARNING_RATE = 1e-3  # of the first one, where the cosine ends
SAVE_EVERY_S = 30.0  # what a killed training loses at most, besides one step
EVALUATION_BATCH = 500
SHIFT = 4  # pixels, at most, that an augmented image is shifted by
CHECKPOINT_VERSION = 2


@dataclass(frozen=True, eq=False)
class Start:
    """Weights that somebody published.

    Attributes:
        state: Parameters by name.
        source: Where they come from.
    """

    state: dict[str, Any]
    source: str


@dataclass
class State:
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
        network: Network,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        folder: Folder,
        *,
        seed: int,
        start: Start | None = None,
    ) -> None:
        """Split the set, draw the weights; or, where *folder* holds a checkpoint, take up from there.

        Args:
            network: With its recipe.
            images, labels: The training split, uint8 (n, height, width, channels) and (n,).
            folder: Holds the checkpoints.
            seed: Decides weights, split and order.
            start: Weights to begin with, instead of drawn ones.

        Raises:
            UsageError: no recipe, or the checkpoint was made with other settings.
            ArtifactError: the checkpoint is damaged.
        """
        self.network, self.recipe, self.folder, self.seed = network, recipe_of(network), folder, seed
        self._start = start
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        planes = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        classes = torch.from_numpy(labels.astype(np.int64))
        held_out, kept = order[: self.recipe.validation], order[self.recipe.validation :]
        self._validation = planes[held_out], classes[held_out]
        self._images, self._labels = planes[kept], classes[kept]
        if len(kept) < 2:  # batch normalisation has no variance of less
            raise UsageError(
                f"{len(images)} training images leave {len(kept)} after {len(held_out)} for validation",
                fix="train on the whole training set, or split fewer off",
            )
        # A short last batch is left out: batches are drawn anew in every epoch.
        self.steps = max(1, len(kept) // self.recipe.batch)
        torch.manual_seed(seed)
        self.model = models.build(network, latent_scale=self.recipe.latent_scale, dropout=self.recipe.dropout)
        if start is not None:
            models.load_weights(self.model, network, start.state)
        self.model.to(memory_format=torch.channels_last)  # the faster one on a CPU; the same values
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=self.recipe.learning_rate)
        self.state = State()
        if saved := folder.load_last(self.settings()):
            self.model.load_state_dict(saved["model"])
            self._optimizer.load_state_dict(saved["optimizer"])
            torch.set_rng_state(saved["generator"])
            self.state = State(**saved["state"])

    def settings(self) -> dict[str, Any]:
        """What decides the result; a checkpoint of other settings is refused."""
        made_by = {"checkpoint_version": CHECKPOINT_VERSION, "network": self.network.name, "seed": self.seed}
        if self._start is not None:
            made_by["pretrained"] = self._start.source
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
            order, views = self._order(self.state.epoch)
            self.model.train()
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

    def _step(self, batch: torch.Tensor, views: torch.Tensor) -> None:
        cosine = 0.5 * (1 + math.cos(math.pi * self.done_steps / self.all_steps))
        share = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine
        self._optimizer.param_groups[0]["lr"] = self.recipe.learning_rate * share
        labels = self._labels[batch]
        planes = self._images[batch]
        if self.recipe.augment:
            planes = augmented(planes, views)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = self.model(as_input(planes).contiguous(memory_format=torch.channels_last)).float()
        loss = torch.nn.functional.cross_entropy(logits, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        models.clip_weights(self.model)
        self.state.step += 1
        self.state.loss_sum += float(loss.detach())
        self.state.hits += int((logits.argmax(1) == labels).sum())

    def _finish_epoch(self) -> None:
        state = self.state
        correct = count_correct(self.model, *self._validation)
        entry = asdict(self._progress())
        entry.update(
            validation_percent=100.0 * correct / self.validation_samples,
            learning_rate=self._optimizer.param_groups[0]["lr"],
        )
        best = correct >= state.best_correct  # of equals the later one: the smaller step has settled it
        state.epoch, state.step, state.loss_sum, state.hits = state.epoch + 1, 0, 0.0, 0
        if best:
            state.best_epoch, state.best_correct = state.epoch, correct
        entry["best_percent"] = 100.0 * state.best_correct / self.validation_samples
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
                "state": asdict(self.state),
            }
        )

    def _progress(self) -> Progress:
        state = self.state
        seen = min(state.step * self.recipe.batch, len(self._images))
        samples = self.validation_samples
        return Progress(
            epoch=state.epoch + 1,
            epochs=self.recipe.epochs,
            step=state.step,
            steps=self.steps,
            loss=state.loss_sum / max(state.step, 1),
            train_percent=100.0 * state.hits / max(seen, 1),
            validation_percent=state.log[-1]["validation_percent"] if state.log else None,
            best_percent=100.0 * state.best_correct / samples if state.log else None,
        )


def augmented(planes: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """Images as an epoch sees them: shifted, black where nothing is, some mirrored.

    Args:
        planes: uint8 (n, channels, height, width).
        views: Integers (n, 3): rows and columns to shift by, 0 to 2 * SHIFT with SHIFT for none, and 1 to mirror.

    Returns:
        Of the shape of *planes*.
    """
    count, channels, height, width = planes.shape
    padded = torch.nn.functional.pad(planes, (SHIFT, SHIFT, SHIFT, SHIFT))
    rows = views[:, 0, None] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = views[:, 1, None] + torch.where(views[:, 2, None] > 0, width - 1 - columns, columns)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def as_input(planes: torch.Tensor) -> torch.Tensor:
    """uint8 planes (n, channels, height, width) as the network takes them: float32, pixel / 255."""
    return planes.to(torch.float32) / 255.0


def logits_of(model: torch.nn.Module, planes: torch.Tensor) -> torch.Tensor:
    """Logits (n, classes) of uint8 planes; *model* is left in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(as_input(part)) for part in planes.split(EVALUATION_BATCH)])


def count_correct(model: torch.nn.Module, planes: torch.Tensor, labels: torch.Tensor) -> int:
    """How many of uint8 planes *model* classifies as *labels* say."""
    return int((logits_of(model, planes).argmax(1) == labels).sum())
