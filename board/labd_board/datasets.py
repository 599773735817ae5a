"""``python3 -m labd_board.datasets``: pack, list and verify the data sets on this board."""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from labd_board import session
from labd_board.command import Arguments, Output, run_plain
from labd_shared.datasets import (
    DATASETS,
    INDEX_NAME,
    SPLITS,
    PackedDataset,
    dataset_spec,
    missing_files,
    packed_folder,
)
from labd_shared.errors import DataDamaged, DataMissing, SetupError, UnknownName

ACTIONS = ("prepare", "list", "verify")


def prepare(roots: Sequence[Path], names: Sequence[str], split: str, into: Path) -> List[Dict[str, Any]]:
    """Pack *split* of the data sets whose official files lie in *roots*, anew, into the folder *into*.

    Args:
        roots: Folders to look in, in order.
        names: Of data sets, all of which must be there; those that are there when empty.
        split: "test" or "train".
        into: The cache.

    Returns:
        A JSON-able record of each, as `listed`.

    Raises:
        UnknownName: no such data set.
        DataMissing: one of *names* is not there, or nothing is.
        DataDamaged: a file does not have the format's structure.
        SetupError: *into* cannot be written.
    """
    for name in names:
        dataset_spec(name)
    records = []
    for name in names or sorted(DATASETS):
        try:
            folder = session.pack_official(roots, name, split, into)
        except OSError as error:
            raise SetupError(
                "{} cannot be packed into {}: {}".format(name, into, error.strerror or error),
                fix="make room, or give --into FOLDER that can be written",
            ) from error
        if folder is not None:
            records.append(_record(folder))
        elif names:
            raise _nowhere("the official files of {} ({} split) are".format(name, split), roots, name)
    if not records:
        raise _nowhere("the official files of a data set are", roots, "NAME")
    return records


def listed(roots: Sequence[Path]) -> List[Dict[str, Any]]:
    """What lies in *roots*: packed splits, and data sets of which there are only official files.

    Returns:
        JSON-able records: name, split, state ("packed", "damaged" or "official files"), folder, and of
        packed ones images, bytes, classes and coarse classes.
    """
    records = []
    for root in roots:
        for name in sorted(set(DATASETS).union(_packed_names(root))):
            splits = [split for split in SPLITS if (packed_folder(root, name, split) / INDEX_NAME).is_file()]
            records += [_record(packed_folder(root, name, split)) for split in splits]
            official = [
                split for split in SPLITS if name in DATASETS and not missing_files(root / name, name, split)
            ]
            if official and not splits:
                records.append(
                    {"name": name, "split": "", "state": "official files", "folder": str(root / name)}
                )
    return records


def verify(roots: Sequence[Path], names: Sequence[str]) -> List[Dict[str, Any]]:
    """Compare every packed split in *roots* (of *names*, or all when empty) with its digests.

    Returns:
        The records of `listed`; the state of a split that differs is "damaged", with the reason.

    Raises:
        UnknownName: no such data set.
        DataMissing: nothing of them is packed here.
    """
    own = {name for root in roots for name in _packed_names(root)}
    for name in names:
        if name not in own:
            dataset_spec(name)
    found = [
        record
        for record in listed(roots)
        if record["state"] != "official files" and (not names or record["name"] in names)
    ]
    if not found:
        raise _nowhere("a packed split of {} is".format(" or ".join(names) or "a data set"), roots, "NAME")
    return [_verified(record) for record in found]


def _packed_names(root: Path) -> List[str]:
    """The data sets of which something packed lies in *root*, a user's own among them."""
    return [index.parent.parent.name for index in root.glob("*/*/" + INDEX_NAME)]


def _record(folder: Path) -> Dict[str, Any]:
    """What a packed split is; a damaged one has its reason."""
    record = {"name": folder.parent.name, "split": folder.name, "folder": str(folder)}  # type: Dict[str, Any]
    try:
        with PackedDataset(folder) as dataset:
            record.update(
                state="packed",
                images=dataset.count,
                bytes=sum(dataset.sizes.values()),
                classes=len(dataset.spec.class_names),
                coarse_classes=len(dataset.spec.coarse_names),
            )
    except (DataDamaged, UnknownName) as error:
        record.update(state="damaged", reason=error.what)
    return record


def _verified(record: Dict[str, Any]) -> Dict[str, Any]:
    if record["state"] == "damaged":
        return record
    try:
        with PackedDataset(record["folder"]) as dataset:
            dataset.verify()
    except DataDamaged as error:
        return dict(record, state="damaged", reason=error.what)
    return dict(record, state="verified")


def _nowhere(what: str, roots: Sequence[Path], name: str) -> DataMissing:
    return DataMissing(
        "{} in none of: {}".format(what, ", ".join(str(root) for root in roots) or "no data folder is known"),
        fix="from the host: fab data --board NN --dataset {}, or --data FOLDER".format(name),
    )


def lines(records: Sequence[Dict[str, Any]]) -> List[str]:
    """The records for people."""
    told = []
    for record in records:
        size = ""
        if "images" in record:
            coarse = " in {coarse_classes} coarse" if record["coarse_classes"] else ""
            size = ("{images} images, {classes} classes" + coarse + ", {:.1f} MB, ").format(
                record["bytes"] / 1e6, **record
            )
        told.append("{name:9} {split:5} {state:14} {size}{folder}".format(size=size, **record))
        if "reason" in record:
            told.append("  " + record["reason"])
    return told


def body(wanted: argparse.Namespace, output: Output) -> None:
    """The command."""
    roots = session.data_roots(wanted.data)
    if wanted.action == "list":
        records = listed(roots)
    elif wanted.action == "verify":
        records = verify(roots, wanted.names)
    elif roots or wanted.into:
        records = prepare(roots, wanted.names, wanted.split, Path(wanted.into or str(roots[-1])))
    else:
        raise _nowhere("data sets are", roots, "NAME")
    for line in lines(records) or [
        "nothing in: " + (", ".join(map(str, roots)) or "no data folder is known")
    ]:
        output.line(line)
    output.result({"datasets": records})
    damaged = [record["name"] + "/" + record["split"] for record in records if record["state"] == "damaged"]
    if damaged and wanted.action == "verify":
        raise DataDamaged(
            "{} of {} packed splits are damaged: {}".format(len(damaged), len(records), ", ".join(damaged)),
            fix="push it again: fab data --board NN --dataset {}".format(damaged[0].split("/")[0]),
        )


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; the exit code."""
    parser = Arguments("datasets", "The data sets on this board.", bundle=False)
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="prepare: pack official files for streaming; list: what is there; verify: check the digests",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of data sets (default: every one that is there)"
    )
    parser.add_data_folder()
    parser.add_argument("--split", choices=SPLITS, default="test", help="what prepare packs")
    parser.add_argument(
        "--into", metavar="FOLDER", help="where prepare puts it (default: the last of the data folders)"
    )
    return run_plain(parser, body, argv)


if __name__ == "__main__":
    sys.exit(main())
