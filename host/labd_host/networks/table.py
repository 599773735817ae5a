"""The network table and a user's own network: read from TOML, checked once, frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from labd_host import datasets
from labd_host.machine.toml_files import parse_toml
from labd_host.machine.typed_records import to_record
from labd_shared.datasets import dataset_spec
from labd_shared.errors import ArtifactError, UnknownName, UsageError
from labd_shared.files import read_bounded
from labd_shared.records import MAX_NAME, SHOWN, Origin, Value, bounded

TABLE = Path(__file__).with_name("table.toml")
DEFINITION = ".toml"  # of a user's own network
KERNEL = 3  # side of every convolution's window, without padding
POOL = 2  # side of the max-pool's window, and its stride
KINDS = ("fc", "cnv")
PRECISIONS = ("auto", "float32", "bfloat16")  # auto: bfloat16 where the processor computes with it
DEVICES = ("auto", "cpu", "cuda")  # auto: a GPU where there is one
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # it becomes the name of files
NAME_WANTED = "a name of a to z, 0 to 9 and . _ -, 64 characters at most,"
DATASET = re.compile(r".+")
PRETRAINED = re.compile(r"(https://[!-~]+/[A-Za-z0-9_.]+-[0-9a-f]{8,64}\.pth)?")
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
        dataset: Name of the data set it classifies; of a user's own what `labd_host.datasets.read` takes.
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
        """The same network, to be trained by *recipe*, which is checked like one of the table."""
        value = bounded(to_record(recipe), Origin(f"the recipe of {self.name}", "correct the recipe"))
        return replace(self, recipe=_recipe_for(self.kind, value))


RECIPE_NEEDS = tuple(each.name for each in fields(Recipe) if each.default is MISSING)
RECIPE_HAS = tuple(each.name for each in fields(Recipe) if each.default is not MISSING)
SETTABLE = tuple(name for name in (*RECIPE_NEEDS, *RECIPE_HAS) if name not in ("epochs", "precision"))
NETWORK_NEEDS = (
    "kind", "dataset", "classes", "input_shape", "in_bits", "weight_bits", "act_bits", "convs", "hidden",
)  # fmt: skip
NETWORK_HAS = ("recipe", "pretrained")


def recipe_with(recipe: Recipe, settings: Collection[str]) -> Recipe:
    """*recipe* with other values: *settings* are KEY=VALUE, as a table has them.

    Raises:
        UsageError: one of them is not a setting, or its value is not possible.
    """
    for setting in settings:
        key, _, text = setting.partition("=")
        origin = Origin(
            f"--recipe {setting[:SHOWN]}", "give it like this: --recipe learning_rate=0.003", UsageError
        )
        _known(bounded({key: 0}, origin), (), SETTABLE)
        given = parse_toml(f"{key} = {text}".encode(), origin).fields((key,))
        recipe = parse_recipe(Value({**to_record(recipe), key: given[key].raw}, origin))
    return recipe


def read_table(path: Path = TABLE) -> dict[str, NetworkSpec]:
    """The networks of a table file, by name.

    Raises:
        ArtifactError: the file cannot be read, is not TOML, or has a wrong value.
    """
    content = read_bounded(path, MAX_FILE_BYTES, "reinstall labd")
    return _networks(parse_toml(content, _origin(path.name)))


def parse_table(text: str, *, where: str = "the network table") -> dict[str, NetworkSpec]:
    """The networks of *text*, TOML; see `read_table`."""
    return _networks(parse_toml(text.encode("utf-8"), _origin(where)))


def read_network(path: Path, taken: Collection[str] = ()) -> NetworkSpec:
    """The network in a user's own file: an entry of the table at the top level, and its name.

    Args:
        path: Of the file.
        taken: Names that it must not have, because others would be meant by them.

    Raises:
        ArtifactError: the file cannot be read, is not TOML, or has a wrong value.
    """
    content = read_bounded(path, MAX_FILE_BYTES, "docs/own-network.md has an example")
    entry = parse_toml(content, _origin(str(path)))
    known = _known(entry, ("name", *NETWORK_NEEDS), NETWORK_HAS)
    name = known["name"].text(MAX_NAME, NAME, NAME_WANTED)
    if name in taken:
        raise ArtifactError(
            f"{path}: name is {name!r}, which is the name of one of labd's own networks",
            fix='give it another: name = "my-network"',
        )
    made = _network(name, entry, known)
    made = replace(made, file=path, dataset=datasets.located(made.dataset, path.parent))
    _check_dataset(made, path)
    return made


def _origin(where: str) -> Origin:
    return Origin(where, f"correct {where}")


def _check_dataset(network: NetworkSpec, path: Path) -> None:
    """Compare a network with its data set of the table; a user's own data are compared when they are read."""
    if datasets.is_named_here(network.dataset):
        return
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


def _networks(table: Value) -> dict[str, NetworkSpec]:
    return {
        name: _network(name, entry, _known(entry, NETWORK_NEEDS, NETWORK_HAS))
        for name, entry in table.entries().items()
    }


def _network(name: str, entry: Value, known: dict[str, Value]) -> NetworkSpec:
    """The network *name* in *entry*, whose fields are *known*."""
    kind = known["kind"].choice(KINDS)
    shape = known["input_shape"].list()
    if len(shape) != 3:
        known["input_shape"].refuse("[height, width, channels]")
    height, width, channels = (axis.integer(1) for axis in shape)
    made = NetworkSpec(
        name=name,
        kind=kind,
        dataset=known["dataset"].text(MAX_NAME, DATASET, "a name"),
        classes=known["classes"].integer(1),
        input_shape=(height, width, channels),
        in_bits=known["in_bits"].integer(1, MAX_BITS),
        weight_bits=known["weight_bits"].integer(1, MAX_BITS),
        act_bits=known["act_bits"].integer(1, MAX_BITS),
        convs=tuple(_conv(each) for each in known["convs"].list()),
        hidden=tuple(width.integer(1) for width in known["hidden"].list()),
        recipe=_recipe_for(kind, known["recipe"]) if "recipe" in known else None,
        pretrained=known["pretrained"].text(MAX_NAME, PRETRAINED, "https://.../NAME-45185b4d.pth")
        if "pretrained" in known
        else "",
    )
    if (kind == "fc") != (not made.convs):
        known["convs"].refuse("an empty list for kind fc, convolutions for kind cnv")
    if min(made.flat_shape) < 1:
        raise entry.origin.fault(
            f"{entry.below('convs')} leave nothing of an image of {made.input_shape}, {made.flat_shape} remains"
        )
    if made.weights > MAX_WEIGHTS:
        raise entry.origin.fault(
            f"network {name!r} has {made.weights} weights, labd takes {MAX_WEIGHTS} at most"
        )
    return made


def _conv(value: Value) -> Conv:
    known = _known(value, ("channels", "pool"))
    return Conv(known["channels"].integer(1), known["pool"].truth())


def _recipe_for(kind: str, value: Value) -> Recipe:
    """The recipe in *value* for a network of *kind*."""
    recipe = parse_recipe(value)
    if recipe.dropout and kind != "fc":
        raise value.origin.fault(
            f"{value.below('dropout')} is {recipe.dropout}, only fully connected networks have dropout"
        )
    return recipe


def parse_recipe(value: Value, least: int = 1) -> Recipe:
    """The recipe in *value*.

    Args:
        value: Its settings by name; those of `RECIPE_HAS` may be left out.
        least: Epochs and validation images; 0 in the record of weights that were taken as they are.

    Raises:
        LabdError: of the class of the value's origin: a setting is missing, unknown or not possible.
    """
    known = _known(value, RECIPE_NEEDS, RECIPE_HAS)
    epochs = known["epochs"].integer(least)
    optional: dict[str, Any] = {
        key: known[key].integer(0) for key in ("warmup_steps", "float_epochs") if key in known
    }
    for key in ("final_learning_rate", "label_smoothing", "distillation"):
        if key in known:
            optional[key] = known[key].number(0, 1)
    recipe = Recipe(
        epochs=epochs,
        batch=known["batch"].integer(1),
        learning_rate=_number(known["learning_rate"], "a number above 0", lambda rate: rate > 0),
        latent_scale=_number(
            known["latent_scale"], "a number above 0 and at most 1", lambda scale: 0 < scale <= 1
        ),
        dropout=_number(known["dropout"], "a number from 0 to below 1", lambda share: 0 <= share < 1),
        augment=known["augment"].truth(),
        precision=known["precision"].choice(PRECISIONS),
        validation=known["validation"].integer(least),
        **optional,
    )
    if epochs and recipe.float_epochs >= epochs:
        known["float_epochs"].refuse(f"a number below epochs ({epochs})")
    return recipe


def _number(value: Value, wanted: str, fits: Callable[[float], bool]) -> float:
    """The number, which must be one that *fits*; *wanted* says in words what that means."""
    number = value.number()
    if not fits(number):
        value.refuse(wanted)
    return number


def _known(value: Value, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Value]:
    """The fields of *value*, as of `Value.fields`: an unknown one is a fault of the file that offers the nearest."""
    try:
        return value.fields(needed, optional, f"key of {value.path}" if value.path else "key")
    except UnknownName as error:
        raise value.origin.error(error.what, fix=error.fix) from error


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
