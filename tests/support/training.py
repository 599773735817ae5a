"""Stand-ins for what a training needs: files of a data set, and a Python that only says what it was asked."""

from labd_host.networks.trained import TRAINED

MNIST_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def empty_mnist(folder):
    """The names of MNIST's files below *folder*, and nothing in them."""
    (folder / "mnist").mkdir(parents=True)
    for name in MNIST_FILES:
        (folder / "mnist" / f"{name}-ubyte").touch()


def train_python(path, network, said):
    """An executable at *path* that notes *said* (of sh: "$3", "$*"), leaves TFC's record as that of *network*
    and a state to go on from, and ends well."""
    path.write_text(
        f'#!/bin/sh\necho \'{{"note": "\'"{said}"\'"}}\'\n'
        f'cp {TRAINED}/tfc-w1a1.json "$5/{network}.json"\ntouch "$5/last.pt"\necho \'{{"trained": true}}\'\n'
    )
    path.chmod(0o755)
    return path
