"""Small archives in the official formats of CIFAR-10 and CIFAR-100, as their authors wrote them.

Python 3.6 code: the tests of shared/ and board/ use it on the images' Pythons.
"""

import io
import struct
import tarfile

import numpy as np

from labd_shared.datasets import DATASETS

COUNTS = {"train": 50, "test": 20}


def split_of(name, split, count=None):
    """Images uint8 (count, 32, 32, 3) and labels uint8 (count,), the same every time."""
    count = count or COUNTS[split]
    rng = np.random.RandomState(len(name) * 1000 + count)
    images = rng.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return images, rng.randint(0, len(DATASETS[name].class_names), count).astype(np.uint8)


def planes(images):
    """(n, 3072): red, green, blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def records(name, images, labels, coarse=None):
    """The content of one file of the binary distribution."""
    columns = [labels[:, None], planes(images)]
    if DATASETS[name].coarse_names:
        coarse = DATASETS[name].coarse_labels(labels) if coarse is None else coarse
        columns.insert(0, coarse[:, None])
    return np.hstack(columns).astype(np.uint8).tobytes()


def python2(value):
    """*value* as Python 2's cPickle wrote it with protocol 2, without the protocol and the final stop."""
    if isinstance(value, bytes):
        short = len(value) < 256
        return (
            b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))
        ) + value
    if isinstance(value, int):
        return b"K" + bytes((value,)) if value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(python2(each) for each in value) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(key) + python2(value[key]) for key in sorted(value)) + b"u"
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R("
    shape = b"".join(b"J" + struct.pack("<i", axis) for axis in value.shape)
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    return made + b"K\x01(" + shape + b"t" + kind + b"\x89" + python2(value.tobytes()) + b"tb"


def pickled(value):
    return b"\x80\x02" + python2(value) + b"."


def batch(name, images, labels):
    """The content of one file of the python distribution."""
    record = {b"batch_label": b"testing batch 1 of 1", b"data": planes(images)}
    if DATASETS[name].coarse_names:
        record[b"fine_labels"] = labels.tolist()
        record[b"coarse_labels"] = DATASETS[name].coarse_labels(labels).tolist()
    else:
        record[b"labels"] = labels.tolist()
    return pickled(record)


def members(name, kind, splits=("test", "train")):
    """The files of a small data set in the form *kind*, by their names in the archive."""
    spec = DATASETS[name]
    form = next(form for form in spec.forms if form.kind == kind)
    fine, coarse = ([each.encode() for each in names] for names in (spec.class_names, spec.coarse_names))
    files = {}
    for split in splits:
        images, labels = split_of(name, split)
        parts = np.array_split(np.arange(len(labels)), len(form.files[split]))
        for part, file_name in enumerate(form.files[split]):
            rows = parts[part]
            write = records if kind == "binary" else batch
            files[form.folder + "/" + file_name] = write(name, images[rows], labels[rows])
    if kind == "binary":
        for place, file_name in enumerate(form.names):
            files[form.folder + "/" + file_name] = b"\n".join((fine, coarse)[place]) + b"\n\n"
    elif coarse:
        files[form.folder + "/meta"] = pickled({b"fine_label_names": fine, b"coarse_label_names": coarse})
    else:
        files[form.folder + "/batches.meta"] = pickled({b"label_names": fine, b"num_vis": 3072})
    return files


def write_archive(path, files, special=()):
    """Write *files* (content by name) into a .tar.gz, and after them the entries *special* as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(str(path), "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in special:
            tar.addfile(entry)
    return path


def write_official(folder, name, kind="binary", splits=("test", "train")):
    """Write the archive of a small data set into *folder*; its path."""
    form = next(form for form in DATASETS[name].forms if form.kind == kind)
    return write_archive(folder / form.archive, members(name, kind, splits))
