"""`fab` tasks: each is one call into `labd.board_commands`, as the labd command's. List them: fab --list."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fabric import task
from invoke.exceptions import Exit

from labd import board_commands, board_console
from labd_host.remote import typed_values

COMMON = {"auto_shortflags": False, "iterable": ["board"]}
DEADLINE = "seconds the board may take"


def _run(work: Callable[..., Any], as_json: bool) -> None:
    """Do *work*, show what came of it, and end with its exit code."""
    code = board_console.show(lambda listener: work(listener=listener), as_json=as_json)
    if code:
        raise Exit(code=code)


@task(**COMMON, help={"board": "03; may be given several times", "bundle": "folder or .zip (or LABD_BUNDLE)"})
def deploy(c: Any, board: Sequence[str], bundle: str = "", json: bool = False) -> None:
    """Deploy a bundle, run its golden samples, and go back by itself when they fail."""
    _run(partial(board_commands.deploy, board, bundle=bundle), json)


@task(
    **COMMON,
    help={
        "dataset": "default: the one the bundle was trained for; also npz:FILE, dir:FOLDER, NAME.toml",
        "batchsize": "any number, it need not divide anything",
        "limit": "only the first N images",
        "compare": "golden: each answer with the golden model's",
        "min_accuracy": "exit with 7 below this percentage",
        "passes": "go through the images so often; what changes its answer exits with 7",
        "resume": "go on with a killed run of the same bundle and images",
        "recover": "after a deadline program again and repeat the batch, once",
        "predictions": "FILE.npz here: what was said of each image, for labd compare",
        "deadline": DEADLINE,
    },
)
def validate(
    c: Any,
    board: Sequence[str],
    dataset: str = "",
    batchsize: str = "",
    limit: str = "",
    compare: str = "",
    min_accuracy: str = "",
    passes: str = "",
    resume: bool = False,
    recover: bool = False,
    predictions: str = "",
    deadline: str = "900",
    json: bool = False,
) -> None:
    """The accuracy of the deployed accelerator on a data set's test split."""

    def work(**heard: Any) -> Any:
        return board_commands.validate(
            board,
            dataset=dataset,
            batchsize=typed_values.count("batchsize", batchsize),
            limit=typed_values.count("limit", limit),
            compare=compare,
            min_accuracy=typed_values.percentage("min-accuracy", min_accuracy),
            passes=typed_values.count("passes", passes),
            resume=resume,
            recover=recover,
            predictions=predictions,
            deadline_s=typed_values.seconds("deadline", deadline),
            as_data=json,
            **heard,
        )

    _run(work, json)


@task(
    **COMMON,
    help={
        "batchsize": "frames a run",
        "repeats": "timed runs",
        "sweep": "these batch sizes as well: 1,100,10000",
        "deadline": DEADLINE,
    },
)
def throughput(
    c: Any,
    board: Sequence[str],
    batchsize: str = "",
    repeats: str = "",
    sweep: str = "",
    deadline: str = "900",
    json: bool = False,
) -> None:
    """How fast the deployed accelerator is, and where each figure comes from."""

    def work(**heard: Any) -> Any:
        return board_commands.throughput(
            board,
            batchsize=typed_values.count("batchsize", batchsize),
            repeats=typed_values.count("repeats", repeats),
            sweep=typed_values.counts("sweep", sweep),
            deadline_s=typed_values.seconds("deadline", deadline),
            as_data=json,
            **heard,
        )

    _run(work, json)


@task(**COMMON, help={"passes": "how often each sample is run", "deadline": DEADLINE})
def selftest(
    c: Any, board: Sequence[str], passes: str = "", deadline: str = "900", json: bool = False
) -> None:
    """Does the board compute exactly what the golden model does?"""

    def work(**heard: Any) -> Any:
        return board_commands.selftest(
            board,
            passes=typed_values.count("passes", passes),
            deadline_s=typed_values.seconds("deadline", deadline),
            as_data=json,
            **heard,
        )

    _run(work, json)


@task(
    auto_shortflags=False,
    iterable=["board", "picture"],
    help={
        "picture": "a file or a folder of this machine; may be given several times",
        "invert": "dark for light, for digits drawn dark on light",
        "deadline": DEADLINE,
    },
)
def classify(
    c: Any,
    board: Sequence[str],
    picture: Sequence[str],
    invert: bool = False,
    deadline: str = "900",
    json: bool = False,
) -> None:
    """What the deployed accelerator sees in pictures."""

    def work(**heard: Any) -> Any:
        return board_commands.classify(
            board,
            picture,
            invert=invert,
            deadline_s=typed_values.seconds("deadline", deadline),
            as_data=json,
            **heard,
        )

    _run(work, json)


@task(**COMMON)
def info(c: Any, board: Sequence[str], json: bool = False) -> None:
    """What the board is and what is deployed on it."""
    _run(partial(board_commands.info, board, as_data=json), json)


@task(**COMMON)
def boards(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Which boards there are, whether they answer, what runs on them, and who has them."""
    _run(partial(board_commands.boards, board), json)


@task(**COMMON, help={"fingerprint": "SHA256:...; needed where nobody can be asked"})
def enroll(c: Any, board: Sequence[str], fingerprint: str = "", json: bool = False) -> None:
    """Trust the host key a board presents, once it was compared."""
    ask = board_console.question()
    _run(partial(board_commands.enroll, board, fingerprint=fingerprint, ask=ask), json)


@task(**COMMON)
def setup(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Once per board: let its Python find the current release from any directory."""
    _run(partial(board_commands.setup, board), json)


@task(**COMMON)
def rollback(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Go back to the release before the current one."""
    _run(partial(board_commands.rollback, board), json)


@task(
    **COMMON,
    help={"dataset": "mnist, cifar10, cifar100, npz:FILE, dir:FOLDER or NAME.toml", "split": "test or train"},
)
def data(
    c: Any, board: Sequence[str], dataset: str = "mnist", split: str = "test", json: bool = False
) -> None:
    """Send a data set to a board, when what it has differs."""
    _run(partial(board_commands.data, board, dataset=dataset, split=split), json)
