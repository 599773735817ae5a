"""The network table and a user's own network: read from TOML, checked once, frozen."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from labd_shared.datasets import dataset_spec
from labd_shared.errors import ArtifactError, UnknownName, UsageError

TABLE = Path(__file__).with_name("table.toml")
DEFINITION = ".toml"  # of a user's own network
KERNEL = 3  # side of every convolution's window, without padding
POOL = 2  # side of the max-pool's window, and its stride
KINDS = ("fc", "cnv")
PRECISIONS = ("auto", "float32", "bfloat16")  # auto: bfloat16 where the processor computes with it
DEVICES = ("auto", "cpu", "cuda")  # auto: a GPU where there is one
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # it becomes the name of files
PRETRAINED = re.compile(r"https://[!-~]+/[A-Za-z0-9_.]+-[0-9a-f]{8,64}\.pth")
MAX_FILE_BYTES = 1 << 16
MAX_BITS = 8
MAX_WEIGHTS = 1 << 27  # half a GB of float32; the largest of the table has 3 million


@dataclass(frozen=True)
class Conv:
    """One 3 x 3 convolution without padding; a 2 x 2 max-pool follows where *pool* says so."""

    channels: int
    pool: bool


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training part.
        batch: Images a step.
        learning_rate: Adam's, at its highest; it rises over the warm-up, then a cosine brings it down.
        latent_scale: Initial weights are uniform in -latent_scale to latent_scale.
        dropout: Probability of dropping an activation; fully connected networks only.
        augment: Whether each image is shifted by up to 4 pixels and mirrored at random in every epoch.
        precision: Of the arithmetic while training; the best epoch is always chosen in float32. Sums of
            1-bit products up to 256 are exact in bfloat16. "auto" is settled when a training begins.
        validation: Images split off the training set, which choose the best epoch.
        warmup_steps: Over which the learning rate rises from zero.
        final_learning_rate: Where the cosine ends, as a share of *learning_rate*.
        label_smoothing: Share of the target that is spread over all classes.
        float_epochs: Of *epochs*, the first ones in which only activations are quantised. Learning rate and
            optimiser begin again after them.
        distillation: Share of the loss that compares answers with a teacher's; a teacher is needed then.
    """

    epochs: int
    batch: int
    learning_rate: float
    latent_scale: float
    dropout: float
    augment: bool
    precision: str
    validation: int
    warmup_steps: int = 0
    final_learning_rate: float = 0.001
    label_smoothing: float = 0.0
    float_epochs: int = 0
    distillation: float = 0.0


@dataclass(frozen=True)
class NetworkSpec:
    """The structure of one network.

    Attributes:
        name: "tfc-w1a1".
        kind: "fc" (fully connected) or "cnv" (convolutions first).
        dataset: Name of the data set it classifies.
        classes: Number of classes, neurons of the last layer.
        input_shape: Height, width, channels of one uint8 image.
        in_bits, weight_bits, act_bits: Width of input, weights and activations; 1 is -1 or +1.
        convs: The convolutions, in order.
        hidden: Neurons of the fully connected layers before the last.
        recipe: How `labd train` trains it, or None where there is none.
        pretrained: Address of published weights, whose file name ends in the first digits of its sha256
            (NAME-45185b4d.pth); "" where there are none.
        file: The user's own file that it was read from, None for one of the table.
    """

    name: str
    kind: str
    dataset: str
    classes: int
    input_shape: tuple[int, int, int]
    in_bits: int
    weight_bits: int
    act_bits: int
    convs: tuple[Conv, ...]
    hidden: tuple[int, ...]
    recipe: Recipe | None = None
    pretrained: str = ""
    file: Path | None = field(default=None, compare=False)

    @property
    def typed(self) -> str:
        """What stands for it on a command line."""
        return self.name if self.file is None else str(self.file)

    @property
    def flat_shape(self) -> tuple[int, int, int]:
        """Height, width, channels where the first fully connected layer reads them."""
        height, width, channels = self.input_shape
        for conv in self.convs:
            height, width, channels = height - KERNEL + 1, width - KERNEL + 1, conv.channels
            if conv.pool:
                height, width = height // POOL, width // POOL
        return height, width, channels

    @property
    def flat_features(self) -> int:
        """Elements of one image where the first fully connected layer reads it."""
        height, width, channels = self.flat_shape
        return height * width * channels

    @property
    def weights(self) -> int:
        """Quantized weights of all layers."""
        channels = (self.input_shape[2], *(conv.channels for conv in self.convs))
        features = (self.flat_features, *self.hidden, self.classes)
        convolved = sum(KERNEL**2 * before * after for before, after in pairwise(channels))
        return convolved + sum(before * after for before, after in pairwise(features))

    @property
    def layers(self) -> str:
        """The layers' widths in a line: "64-64-P-512-10", P for a max-pool; fc begins with its inputs."""
        widths = [] if self.convs else [str(self.flat_features)]
        for conv in self.convs:
            widths += [str(conv.channels), "P"] if conv.pool else [str(conv.channels)]
        return "-".join([*widths, *map(str, (*self.hidden, self.classes))])

    def with_recipe(self, recipe: Recipe) -> NetworkSpec:
        """The same network, to be trained by *recipe*; checked like the table."""
        table = {**_as_table(self), "recipe": _as_table(recipe)}
        return replace(_network(self.name, table, where="the recipe"), file=self.file)


def recipe_with(recipe: Recipe, settings: Collection[str]) -> Recipe:
    """*recipe* with other values: *settings* are KEY=VALUE, as a table has them.

    Raises:
        UsageError: one of them is not a setting, or its value is not possible.
    """
    table = _as_table(recipe)
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            _known_keys({key: value}, Recipe, but=("epochs", "precision"))
            table[key] = tomllib.loads(f"value = {value}")["value"]
            recipe = _parse_recipe(table)
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"--recipe {setting}: {error}", fix="give it like this: --recipe learning_rate=0.003"
            ) from error
    return recipe


def read_table(path: Path = TABLE) -> dict[str, NetworkSpec]:
    """The networks of a table file, by name.

    Raises:
        ArtifactError: the file cannot be read, is no TOML, or a value in it cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"the network table {path} cannot be read: {error}", fix="reinstall labd"
        ) from error
    return parse_table(text, where=path.name)


def parse_table(text: str, *, where: str = "the network table") -> dict[str, NetworkSpec]:
    """The networks of *text*, TOML; see `read_table`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArtifactError(f"{where} is no TOML: {error}", fix=f"correct {where}") from error
    return {name: _network(name, entry, where=where) for name, entry in table.items()}


def read_network(path: Path, taken: Collection[str] = ()) -> NetworkSpec:
    """The network in a user's own file: an entry of the table at the top level, and its name.

    Args:
        path: Of the file.
        taken: Names that it must not have, because others would be meant by them.

    Raises:
        ArtifactError: the file cannot be read, or a value in it cannot be.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ArtifactError(
                f"{path} has {path.stat().st_size} bytes, no network needs that",
                fix="docs/own-network.md has an example",
            )
        entry = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArtifactError(
            f"{path} cannot be read: {reason}", fix="docs/own-network.md has an example"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ArtifactError(f"{path} is no TOML: {error}", fix=f"correct {path}") from error
    name = entry.pop("name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in taken:
        reason = "is that of one of labd's own" if name in taken else "must be of a to z, 0 to 9 and . _ -"
        raise ArtifactError(f"{path}: its name {name!r} {reason}", fix='give it one: name = "my-network"')
    made = replace(_network(name, entry, where=str(path)), file=path)
    _check_dataset(made, path)
    return made


def _check_dataset(network: NetworkSpec, path: Path) -> None:
    try:
        spec = dataset_spec(network.dataset)
    except UnknownName as error:
        raise ArtifactError(f"{path}: {error.what}", fix=error.fix) from error
    has = (spec.image_shape, len(spec.class_names))
    if has != (network.input_shape, network.classes):
        raise ArtifactError(
            f"{path}: it takes {network.input_shape} for {network.classes} classes, {spec.name} has "
            f"{has[0]} for {has[1]}",
            fix=f"input_shape = {list(has[0])}, classes = {has[1]}",
        )


def _network(name: str, entry: Any, *, where: str) -> NetworkSpec:
    try:
        made = _parse_network(name, entry)
        _check(made)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"{where}: network {name!r}: {reason}", fix=f"correct {where}") from error
    return made


def _parse_network(name: str, entry: Mapping[str, Any]) -> NetworkSpec:
    _known_keys(entry, NetworkSpec, but=("name", "file"))
    convs = _list("convs", entry["convs"])
    for conv in convs:
        _known_keys(conv, Conv)
    recipe = entry.get("recipe")
    shape = _list("input_shape", entry["input_shape"])
    if len(shape) != 3:
        raise ValueError(f"input_shape is {shape}, not [height, width, channels]")
    height, width, channels = (_positive("input_shape", axis) for axis in shape)
    return NetworkSpec(
        name=name,
        kind=_one_of("kind", entry["kind"], KINDS),
        dataset=_text("dataset", entry["dataset"]),
        classes=_positive("classes", entry["classes"]),
        input_shape=(height, width, channels),
        in_bits=_bits("in_bits", entry["in_bits"]),
        weight_bits=_bits("weight_bits", entry["weight_bits"]),
        act_bits=_bits("act_bits", entry["act_bits"]),
        convs=tuple(
            Conv(_positive("channels", conv["channels"]), _flag("pool", conv["pool"])) for conv in convs
        ),
        hidden=tuple(_positive("hidden", width) for width in _list("hidden", entry["hidden"])),
        recipe=None if recipe is None else _parse_recipe(recipe),
        pretrained=_address(entry.get("pretrained", "")),
    )


def _parse_recipe(entry: Mapping[str, Any]) -> Recipe:
    _known_keys(entry, Recipe)
    recipe = Recipe(
        epochs=_positive("epochs", entry["epochs"]),
        batch=_positive("batch", entry["batch"]),
        learning_rate=_number("learning_rate", entry["learning_rate"]),
        latent_scale=_number("latent_scale", entry["latent_scale"]),
        dropout=_number("dropout", entry["dropout"]),
        augment=_flag("augment", entry["augment"]),
        precision=_one_of("precision", entry["precision"], PRECISIONS),
        validation=_positive("validation", entry["validation"]),
        warmup_steps=_count("warmup_steps", entry.get("warmup_steps", 0)),
        final_learning_rate=_number("final_learning_rate", entry.get("final_learning_rate", 0.001)),
        label_smoothing=_number("label_smoothing", entry.get("label_smoothing", 0.0)),
        float_epochs=_count("float_epochs", entry.get("float_epochs", 0)),
        distillation=_number("distillation", entry.get("distillation", 0.0)),
    )
    if recipe.learning_rate <= 0 or not 0 < recipe.latent_scale <= 1 or not 0 <= recipe.dropout < 1:
        raise ValueError(
            f"learning_rate {recipe.learning_rate} must be positive, latent_scale {recipe.latent_scale} above 0 "
            f"and at most 1, dropout {recipe.dropout} at least 0 and below 1"
        )
    for name in ("final_learning_rate", "label_smoothing", "distillation"):
        if not 0 <= (value := getattr(recipe, name)) <= 1:
            raise ValueError(f"{name} is {value}, not between 0 and 1")
    if recipe.float_epochs >= recipe.epochs:
        raise ValueError(f"float_epochs {recipe.float_epochs} leave none of {recipe.epochs} epochs")
    return recipe


def _check(network: NetworkSpec) -> None:
    """What single values cannot show."""
    if (network.kind == "fc") != (not network.convs):
        raise ValueError(f"kind is {network.kind!r} and it has {len(network.convs)} convolutions")
    if min(network.flat_shape) < 1:
        raise ValueError(f"its convolutions leave nothing of an image of {network.input_shape}")
    if network.weights > MAX_WEIGHTS:
        raise ValueError(f"it has {network.weights} weights, labd takes {MAX_WEIGHTS} at most")
    if network.recipe is not None and network.recipe.dropout and network.kind != "fc":
        raise ValueError("only fully connected networks have dropout")


def _as_table(made: NetworkSpec | Recipe) -> dict[str, Any]:
    names = [each.name for each in fields(made) if each.name not in ("name", "file")]
    table = {name: getattr(made, name) for name in names}
    if isinstance(made, NetworkSpec):
        table["convs"] = [{"channels": conv.channels, "pool": conv.pool} for conv in made.convs]
        table["recipe"] = None if made.recipe is None else _as_table(made.recipe)
    return table


def _known_keys(entry: Any, kind: type[Any], but: tuple[str, ...] = ()) -> None:
    if not isinstance(entry, Mapping):
        raise TypeError(f"{entry!r} is no table")
    known = sorted({each.name for each in fields(kind)} - set(but))
    if strange := sorted(set(entry) - set(known)):
        near = difflib.get_close_matches(strange[0], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"{strange[0]!r} means nothing; {hint}")


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{key} is {value!r}, not a list")
    return list(value)


def _bits(key: str, value: Any) -> int:
    if _positive(key, value) > MAX_BITS:
        raise ValueError(f"{key} is {value}, more than {MAX_BITS}")
    return int(value)


def _positive(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value!r}, not a positive integer")
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} is {value!r}, not zero or a positive integer")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is {value!r}, not a number")
    return float(value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}, not true or false")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {value!r}, not a name")
    return value


def _address(value: Any) -> str:
    if value and not (isinstance(value, str) and PRETRAINED.fullmatch(value)):
        raise ValueError(f"pretrained is {value!r}, not https://.../NAME-45185b4d.pth")
    return str(value)


def _one_of(key: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{key} is {value!r}, not one of {', '.join(known)}")
    return str(value)


def recipe_of(network: NetworkSpec) -> Recipe:
    """How *network* is trained.

    Raises:
        UsageError: the table has no recipe for it.
    """
    if network.recipe is None:
        raise UsageError(
            f"there is no training recipe for {network.typed!r}",
            fix="write one below it, as the table has: [recipe], epochs = 50, ... (docs/own-network.md)",
            network=network.name,
        )
    return network.recipe
