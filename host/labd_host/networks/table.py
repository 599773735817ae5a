"""The network table: read from table.toml, checked once, frozen."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from labd_shared.errors import ArtifactError, UsageError

TABLE = Path(__file__).with_name("table.toml")
KERNEL = 3  # side of every convolution's window, without padding
POOL = 2  # side of the max-pool's window, and its stride
KINDS = ("fc", "cnv")
PRECISIONS = ("float32", "bfloat16")


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
        learning_rate: Adam's, at the start; a cosine brings it to a thousandth of that.
        latent_scale: Initial weights are uniform in -latent_scale to latent_scale.
        dropout: Probability of dropping an activation; fully connected networks only.
        augment: Whether each image is shifted by up to 4 pixels and mirrored at random in every epoch.
        precision: Of the arithmetic while training; the best epoch is always chosen in float32. Sums of
            1-bit products up to 256 are exact in bfloat16.
        validation: Images split off the training set, which choose the best epoch.
    """

    epochs: int
    batch: int
    learning_rate: float
    latent_scale: float
    dropout: float
    augment: bool
    precision: str
    validation: int


@dataclass(frozen=True)
class Network:
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
        recipe: How `labd train` trains it, or None where the table has none.
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

    @property
    def flat_features(self) -> int:
        """Elements of one image where the first fully connected layer reads it."""
        height, width, channels = self.input_shape
        for conv in self.convs:
            height, width, channels = height - KERNEL + 1, width - KERNEL + 1, conv.channels
            if conv.pool:
                height, width = height // POOL, width // POOL
        return height * width * channels

    @property
    def layers(self) -> str:
        """The layers' widths in a line: "64-64-P-512-10", P for a max-pool; fc begins with its inputs."""
        widths = [] if self.convs else [str(self.flat_features)]
        for conv in self.convs:
            widths += [str(conv.channels), "P"] if conv.pool else [str(conv.channels)]
        return "-".join([*widths, *map(str, (*self.hidden, self.classes))])

    def with_recipe(self, recipe: Recipe) -> Network:
        """The same network, to be trained by *recipe*; checked like the table."""
        return _network(self.name, {**_as_table(self), "recipe": _as_table(recipe)}, where="the recipe")


def read_table(path: Path = TABLE) -> dict[str, Network]:
    """The networks of a table file, by name.

    Raises:
        ArtifactError: the file cannot be read, is no TOML, or a value in it cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"the network table {path} cannot be read: {error}", fix="install labd again"
        ) from error
    return parse_table(text, where=path.name)


def parse_table(text: str, *, where: str = "the network table") -> dict[str, Network]:
    """The networks of *text*, TOML; see `read_table`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArtifactError(f"{where} is no TOML: {error}", fix=f"correct {where}") from error
    return {name: _network(name, entry, where=where) for name, entry in table.items()}


def _network(name: str, entry: Any, *, where: str) -> Network:
    try:
        made = _parse_network(name, entry)
        _check(made)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"{where}: network {name!r}: {reason}", fix=f"correct {where}") from error
    return made


def _parse_network(name: str, entry: Mapping[str, Any]) -> Network:
    _known_keys(entry, Network, but=("name",))
    convs = entry["convs"]
    for conv in convs:
        _known_keys(conv, Conv)
    recipe = entry.get("recipe")
    height, width, channels = (_positive("input_shape", axis) for axis in entry["input_shape"])
    return Network(
        name=name,
        kind=_one_of("kind", entry["kind"], KINDS),
        dataset=_text("dataset", entry["dataset"]),
        classes=_positive("classes", entry["classes"]),
        input_shape=(height, width, channels),
        in_bits=_positive("in_bits", entry["in_bits"]),
        weight_bits=_positive("weight_bits", entry["weight_bits"]),
        act_bits=_positive("act_bits", entry["act_bits"]),
        convs=tuple(
            Conv(_positive("channels", conv["channels"]), _flag("pool", conv["pool"])) for conv in convs
        ),
        hidden=tuple(_positive("hidden", width) for width in entry["hidden"]),
        recipe=None if recipe is None else _parse_recipe(recipe),
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
    )
    if recipe.learning_rate <= 0 or not 0 < recipe.latent_scale <= 1 or not 0 <= recipe.dropout < 1:
        raise ValueError(
            f"learning_rate {recipe.learning_rate} must be positive, latent_scale {recipe.latent_scale} above 0 "
            f"and at most 1, dropout {recipe.dropout} at least 0 and below 1"
        )
    return recipe


def _check(network: Network) -> None:
    """What single values cannot show."""
    if (network.kind == "fc") != (not network.convs):
        raise ValueError(f"kind is {network.kind!r} and it has {len(network.convs)} convolutions")
    if network.flat_features < 1:
        raise ValueError(f"its convolutions leave nothing of an image of {network.input_shape}")
    if network.recipe is not None and network.recipe.dropout and network.kind != "fc":
        raise ValueError("only fully connected networks have dropout")


def _as_table(made: Network | Recipe) -> dict[str, Any]:
    table = {field.name: getattr(made, field.name) for field in fields(made) if field.name != "name"}
    if isinstance(made, Network):
        table["convs"] = [{"channels": conv.channels, "pool": conv.pool} for conv in made.convs]
        table["recipe"] = None if made.recipe is None else _as_table(made.recipe)
    return table


def _known_keys(entry: Any, kind: type[Any], but: tuple[str, ...] = ()) -> None:
    if not isinstance(entry, Mapping):
        raise TypeError(f"{entry!r} is no table")
    known = {field.name for field in fields(kind)} - set(but)
    if strange := sorted(set(entry) - known):
        raise ValueError(f"{strange[0]!r} means nothing; known: {', '.join(sorted(known))}")


def _positive(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value!r}, not a positive integer")
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


def _one_of(key: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{key} is {value!r}, not one of {', '.join(known)}")
    return str(value)


def recipe_of(network: Network) -> Recipe:
    """How *network* is trained.

    Raises:
        UsageError: the table has no recipe for it.
    """
    if network.recipe is None:
        raise UsageError(
            f"the network table has no training recipe for {network.name!r}",
            fix="labd train tfc-w1a1, or write one below its entry in networks/table.toml",
            network=network.name,
        )
    return network.recipe
