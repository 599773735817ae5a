"""`fab` tasks: each is one call into labd_host.remote, which has the logic. List them: fab --list."""

from collections.abc import Sequence
from typing import Any

from fabric import task

from labd_host.remote import console, enrolment, look, tasks, typed_values

COMMON = {"auto_shortflags": False, "iterable": ["board"]}


@task(**COMMON, help={"board": "03; may be given several times", "bundle": "folder or .zip (or LABD_BUNDLE)"})
def deploy(c: Any, board: Sequence[str], bundle: str = "", json: bool = False) -> None:
    """Deploy a bundle, run its golden samples, and go back by itself when they fail."""
    talk = console.talk(as_json=json)
    console.show(lambda: tasks.deploy(board, bundle=bundle, talk=talk), as_json=json)


@task(
    **COMMON,
    help={
        "dataset": "default: the one the bundle was trained for",
        "batchsize": "any number, it need not divide anything",
        "limit": "only the first N images",
        "compare": "golden: each answer with the golden model's",
        "min_accuracy": "exit with 7 below this percentage",
        "passes": "go through the images so often; what changes its answer exits with 7",
        "resume": "go on with a killed run of the same bundle and images",
        "recover": "after a deadline program again and repeat the batch, once",
        "predictions": "FILE.npz here: what was said of each image, for labd compare",
        "deadline": "seconds the board may take",
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
    console.show(
        lambda: tasks.run_command(
            "validate",
            board,
            {
                "dataset": dataset,
                "batchsize": typed_values.count("batchsize", batchsize),
                "limit": typed_values.count("limit", limit),
                "compare": compare,
                "min-accuracy": typed_values.percentage("min-accuracy", min_accuracy),
                "passes": typed_values.count("passes", passes),
                "resume": resume,
                "recover": recover,
            },
            as_data=json,
            dataset=dataset,
            predictions=predictions,
            deadline_s=typed_values.seconds("deadline", deadline),
            talk=console.talk(as_json=json),
        ),
        as_json=json,
    )


@task(
    **COMMON,
    help={
        "batchsize": "frames a run",
        "repeats": "timed runs",
        "sweep": "these batch sizes, too: 1,100,10000",
        "deadline": "seconds the board may take",
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
    console.show(
        lambda: tasks.run_command(
            "throughput",
            board,
            {
                "batchsize": typed_values.count("batchsize", batchsize),
                "repeats": typed_values.count("repeats", repeats),
                "sweep": typed_values.counts("sweep", sweep),
            },
            as_data=json,
            deadline_s=typed_values.seconds("deadline", deadline),
            talk=console.talk(as_json=json),
        ),
        as_json=json,
    )


@task(**COMMON, help={"passes": "how often each sample is run", "deadline": "seconds the board may take"})
def selftest(
    c: Any, board: Sequence[str], passes: str = "", deadline: str = "900", json: bool = False
) -> None:
    """Does the board compute exactly what the golden model does?"""
    console.show(
        lambda: tasks.run_command(
            "selftest",
            board,
            {"passes": typed_values.count("passes", passes)},
            as_data=json,
            deadline_s=typed_values.seconds("deadline", deadline),
            talk=console.talk(as_json=json),
        ),
        as_json=json,
    )


@task(
    auto_shortflags=False,
    iterable=["board", "picture"],
    help={
        "picture": "a file or a folder of this machine; may be given several times",
        "invert": "dark for light, for digits drawn dark on light",
        "deadline": "seconds the board may take",
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
    talk = console.talk(as_json=json)
    console.show(
        lambda: tasks.classify(
            board,
            picture,
            invert=invert,
            as_data=json,
            deadline_s=typed_values.seconds("deadline", deadline),
            talk=talk,
        ),
        as_json=json,
    )


@task(**COMMON)
def info(c: Any, board: Sequence[str], json: bool = False) -> None:
    """What the board is and what is deployed on it."""
    console.show(
        lambda: tasks.run_command("info", board, {}, as_data=json, talk=console.talk(as_json=json)),
        as_json=json,
    )


@task(**COMMON)
def boards(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Which boards there are, whether they answer, what runs on them, and who has them."""
    console.show(lambda: look.look(board, talk=console.talk(as_json=json)), as_json=json)


@task(**COMMON, help={"fingerprint": "SHA256:...; needed where nobody can be asked"})
def enroll(c: Any, board: Sequence[str], fingerprint: str = "", json: bool = False) -> None:
    """Trust the host key a board presents, once it was compared."""
    console.show(
        lambda: enrolment.enroll(
            board, fingerprint=fingerprint, ask=console.question(), talk=console.talk(as_json=json)
        ),
        as_json=json,
    )


@task(**COMMON)
def setup(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Once per board: let its Python find the current release from any directory."""
    console.show(lambda: tasks.set_up(board, talk=console.talk(as_json=json)), as_json=json)


@task(**COMMON)
def rollback(c: Any, board: Sequence[str], json: bool = False) -> None:
    """Go back to the release before the current one."""
    console.show(lambda: tasks.rollback(board, talk=console.talk(as_json=json)), as_json=json)


@task(**COMMON, help={"dataset": "mnist, cifar10 or cifar100", "split": "test or train"})
def data(
    c: Any, board: Sequence[str], dataset: str = "mnist", split: str = "test", json: bool = False
) -> None:
    """Send a data set to a board, when what it has differs."""
    talk = console.talk(as_json=json)
    console.show(lambda: tasks.push_data(board, dataset, split, talk=talk), as_json=json)
