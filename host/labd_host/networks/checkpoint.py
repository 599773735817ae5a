"""The files a training leaves: its checkpoints and its log. Train environment only.

``last.pt`` is where it stands, ``best.pt`` the weights of the best epoch, ``log.json`` an entry an
epoch. Each is replaced in one step, so a kill leaves the one before it.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from labd_host.machine.locks import take
from labd_host.networks.training_log import LOG_FILE
from labd_shared.errors import ArtifactError, UsageError
from labd_shared.files import replacing, write_text

# What torch.load raises for a file that is no checkpoint, or not all of one.
DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def load_published(path: Path) -> Any:
    """The parameters in *path*, a file of weights: tensors by name; nothing in it is executed.

    Raises:
        ArtifactError: it is damaged, or holds something else than tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        for entry in ("model", "state_dict"):  # of labd's own checkpoints, and as others wrap them
            if isinstance(content, dict) and isinstance(content.get(entry), dict):
                content = content[entry]
        if not isinstance(content, dict) or not all(
            isinstance(each, torch.Tensor) for each in content.values()
        ):
            raise TypeError("it holds something else than tensors by name")
    except DAMAGED as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"the weights {path} cannot be read: {first}", fix=f"remove {path}, then again"
        ) from error
    return content


class CheckpointFolder:
    """The folder of one training, locked against a second one."""

    def __init__(self, path: Path) -> None:
        """Make it where it is missing, and lock it until this process ends or `close`.

        Raises:
            UsageError: another training holds it.
        """
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        lock = take(path / "lock")
        if lock is None:
            raise UsageError(
                f"another training is running in {path}", fix="wait for it, or train elsewhere: -o DIR"
            )
        self._lock = lock

    def close(self) -> None:
        """Let another training have it."""
        self._lock.release()

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / "best.pt"

    def load_last(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The checkpoint to resume from, None where there is none.

        Raises:
            UsageError: it was made with other *settings*.
            ArtifactError: it is damaged.
        """
        if not self.last.is_file():
            return None
        saved = self._load(
            self.last, ("settings", "model", "optimizer", "generator", "device_generator", "state")
        )
        for name, value in settings.items():
            if (was := saved["settings"].get(name)) != value:
                raise UsageError(
                    f"the training in {self.path} has {name} {was}, asked for is {value}",
                    fix="resume it with what it was started with, or start again elsewhere: -o DIR",
                )
        return saved

    def load_best(self) -> dict[str, Any]:
        """The checkpoint of the best epoch.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        return self._load(self.best, ("model", "epoch"))

    def save_last(self, content: dict[str, Any]) -> None:
        """Replace the checkpoint to resume from."""
        self._save(self.last, content)

    def save_best(self, content: dict[str, Any]) -> None:
        """Replace the checkpoint of the best epoch."""
        self._save(self.best, content)

    def write_log(self, entries: list[dict[str, Any]]) -> None:
        """Replace the log."""
        write_text(
            self.path / LOG_FILE, json.dumps(entries, indent=1, sort_keys=True, allow_nan=False) + "\n"
        )

    def _load(self, path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            missing = [key for key in keys if key not in content]
            if missing:
                raise ValueError(f"{missing[0]} is missing")
        except DAMAGED as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ArtifactError(
                f"the checkpoint {path} cannot be read: {first}", fix=f"start again: remove {self.path}"
            ) from error
        return dict(content)

    def _save(self, path: Path, content: dict[str, Any]) -> None:
        with replacing(path) as making, making.open("wb") as handle:  # a path's name would be in the content
            torch.save(content, handle)
