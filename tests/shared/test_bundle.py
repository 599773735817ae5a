import json
import zipfile

import numpy as np
import pytest

from labd_shared.arrays import load_npz, save_npz
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import ArtifactError, DigestMismatch, ManifestInvalid
from labd_shared.manifest import OutputContract, parse_manifest
from support.bundles import make_manifest, without_golden, write_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "tiny")


def edited(bundle, change):
    """The bundle's manifest as text after *change* to its record."""
    record = json.loads((bundle / "manifest.json").read_text())
    change(record)
    return json.dumps(record)


def test_a_manifest_reads_back_as_it_was_written(bundle):
    text = (bundle / "manifest.json").read_text()
    assert parse_manifest(text).to_json() == text
    assert parse_manifest(text) == open_bundle(bundle).manifest


def test_a_manifest_says_what_the_output_means_and_what_was_accepted(bundle):
    assert "output_contract" not in json.loads((bundle / "manifest.json").read_text())
    for contract in (OutputContract("sign"), OutputContract("values", (0.5, 2.0), (0.0, -1.0))):
        manifest = open_bundle(bundle).manifest._replace(output_contract=contract, accepted=("halves: 3",))
        assert parse_manifest(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    "contract, words",
    [
        (
            {"kind": "heat", "scale": [], "offset": []},
            "output_contract.kind is 'heat', one of class, sign, values",
        ),
        ({"kind": "values", "scale": [1.0], "offset": []}, "output_contract has 1 scales and 0 offsets"),
        ({"kind": "values", "scale": 1.0, "offset": []}, "output_contract.scale is 1.0"),
    ],
)
def test_an_output_contract_that_contradicts_itself_is_refused(bundle, contract, words):
    with pytest.raises(ManifestInvalid) as raised:
        parse_manifest(edited(bundle, lambda record: record.update(output_contract=contract)))
    assert words in raised.value.what


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda r: r.update(format="zip"), "manifest.json: the format is 'zip', not 'labd-bundle'"),
        (lambda r: r.update(version=2), "the version of labd-bundle is 2, this labd reads 1"),
        (lambda r: r.update(target="asic"), "target is 'asic', one of hw, emu is wanted"),
        (lambda r: r.pop("part"), "part is missing"),
        (lambda r: r.update(clock_mhz="fast"), "clock_mhz is 'fast', a number from 1.0 to 1000.0 is wanted"),
        (lambda r: r.update(clock_mhz=0), "clock_mhz is 0, a number from 1.0 to 1000.0"),
        (lambda r: r.update(clock_mhz=True), "clock_mhz is true"),
        (lambda r: r["files"].pop("golden.npz"), "files lacks golden.npz"),
        (lambda r: r["files"].update({"../x": r["files"]["accel.bit"]}), "files is '../x', a name of"),
        (lambda r: r["files"].update({"/etc/x": r["files"]["accel.bit"]}), "files is '/etc/x', a name of"),
        (
            lambda r: r["files"]["accel.bit"].update(sha256="0"),
            "files.accel.bit.sha256 is '0', a sha256 digest is wanted",
        ),
        (
            lambda r: r["inputs"][0].update(packed=[1, 16, 48]),
            r"packed shape is \(1, 16, 48\), .* packs to \(1, 16, 49\)",
        ),
        (
            lambda r: r["inputs"][0].update(datatype="INT4"),
            r"packed shape is \(1, 16, 49\), .* packs to \(1, 16, 25\)",
        ),
        (lambda r: r["inputs"][0].update(folded=[1, 16, 48]), "784 elements in its normal shape"),
        (
            lambda r: r["inputs"][0].update(dma="idma0; rm"),
            "dma is 'idma0; rm', the name of a block is wanted",
        ),
        (
            lambda r: r["inputs"][0].update(normal=[1, "x"]),
            r"inputs\[0\].normal\[1\] is 'x', a whole number is wanted",
        ),
        (lambda r: r.update(outputs=[]), "outputs is a list of 0 entries, a list of 1 to 64"),
        (lambda r: r["expected"].pop("bottleneck"), "expected.bottleneck is missing"),
        (
            lambda r: r["expected"].update(cycles_per_frame=0),
            "expected.cycles_per_frame is 0, a whole number from 1 on",
        ),
        (lambda r: r["input_contract"].update(kind="magic"), "input_contract.kind is 'magic', one of"),
        (lambda r: r.update(class_names=[1]), "class_names\\[0\\] is 1"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(bundle, change, words):
    with pytest.raises(ManifestInvalid, match=words):
        parse_manifest(edited(bundle, change))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", "\x00", "null", '{"format": "labd-bundle"}', "[" * 100000),
        *('{"format": "labd-bundle", "format": 1}', '{"version": NaN}', '{"version": 1' + "0" * 400 + "}"),
    ],
)
def test_other_text_is_no_manifest(text):
    with pytest.raises(ManifestInvalid):
        parse_manifest(text)


def test_a_huge_manifest_is_refused_before_it_is_read():
    with pytest.raises(ManifestInvalid, match="more than 1048576"):
        parse_manifest(" " * (1 << 21))


def test_a_changed_file_is_refused(bundle):
    data = bytearray((bundle / "accel.bit").read_bytes())
    data[3] ^= 1
    (bundle / "accel.bit").write_bytes(bytes(data))
    with pytest.raises(DigestMismatch, match=r"accel.bit has sha256 .*, the manifest says"):
        open_bundle(bundle)


def test_a_truncated_file_is_refused(bundle):
    (bundle / "accel.bit").write_bytes(b"only")
    with pytest.raises(DigestMismatch, match="accel.bit has 4 bytes, the manifest says 28"):
        open_bundle(bundle)


def test_a_swapped_file_is_refused(bundle):
    first, second = (bundle / "accel.bit").read_bytes(), (bundle / "accel.hwh").read_bytes()
    (bundle / "accel.bit").write_bytes(second)
    (bundle / "accel.hwh").write_bytes(first)
    with pytest.raises(DigestMismatch):
        open_bundle(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "golden.npz").unlink()
    with pytest.raises(ArtifactError, match="golden.npz is missing from the bundle of tiny"):
        open_bundle(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(ArtifactError, match="is no bundle: it has no manifest.json"):
        open_bundle(tmp_path)


def zipped(bundle, target, extra=()):
    with zipfile.ZipFile(str(target), "w") as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(str(path), path.name)
        for name, data in extra:
            archive.writestr(name, data)
    return target


def test_a_zip_opens_like_its_folder(bundle, tmp_path):
    opened = open_bundle(zipped(bundle, tmp_path / "tiny.zip"))
    assert opened.manifest == open_bundle(bundle).manifest
    assert opened.path("accel.bit").read_bytes() == (bundle / "accel.bit").read_bytes()
    with pytest.raises(ArtifactError, match="has no driver.py"):
        opened.path("driver.py")


@pytest.mark.parametrize("name", ["../evil", "/evil", "driver.py"])
def test_a_zip_with_other_files_than_its_manifest_is_refused(bundle, tmp_path, name):
    with pytest.raises(ArtifactError, match="and its manifest disagree about"):
        open_bundle(zipped(bundle, tmp_path / "tiny.zip", [(name, b"x")]))
    assert not (tmp_path / "evil").exists()


def test_a_zip_that_unpacks_to_more_than_it_says_is_refused(bundle, tmp_path):
    (bundle / "accel.bit").write_bytes(b"\0" * (5 << 20))
    with pytest.raises(DigestMismatch, match="unpacks to 5242880 bytes, the manifest says 28"):
        open_bundle(zipped(bundle, tmp_path / "tiny.zip"))


def test_a_truncated_zip_is_refused(bundle, tmp_path):
    archive = zipped(bundle, tmp_path / "tiny.zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="tiny.zip is no bundle"):
        open_bundle(archive)


def test_golden_samples_are_checked_against_the_manifest(bundle):
    golden = load_golden(open_bundle(bundle))
    assert golden.images.shape == (20, 784) and golden.outputs.shape == (20, 1)
    assert list(golden.digests) == sorted(golden.digests)
    arrays = load_npz(bundle / "golden.npz")
    arrays["images"] = arrays["images"][:, :-1]
    save_npz(bundle / "golden.npz", arrays)
    broken = open_bundle(write_manifest_again(bundle))
    with pytest.raises(
        ArtifactError, match=r"images is uint8 \(20, 783\), wanted integers of shape \(20, 784\)"
    ):
        load_golden(broken)


def test_a_bundle_may_have_no_golden_samples_but_not_no_golden_file(bundle):
    golden = load_golden(open_bundle(without_golden(bundle)))
    assert [len(array) for array in golden] == [0, 0, 0, 0]
    arrays = load_npz(bundle / "golden.npz")
    del arrays["outputs"]
    save_npz(bundle / "golden.npz", arrays)
    with pytest.raises(ArtifactError, match="outputs is missing"):
        load_golden(open_bundle(write_manifest_again(bundle)))


def write_manifest_again(bundle):
    from labd_shared.digest import file_sha256
    from labd_shared.manifest import FileEntry

    names = ("accel.bit", "accel.hwh", "golden.npz")
    files = {name: FileEntry(file_sha256(bundle / name), (bundle / name).stat().st_size) for name in names}
    (bundle / "manifest.json").write_text(make_manifest(files).to_json())
    return bundle


def test_arrays_are_written_with_the_same_bytes_and_come_back(tmp_path, rng):
    arrays = {"b": rng.randint(0, 9, (3, 4)), "a": np.array([1.5, 2.5])}
    for name in ("one.npz", "two.npz"):
        save_npz(tmp_path / name, dict(reversed(list(arrays.items()))))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = load_npz(tmp_path / "one.npz")
    assert sorted(back) == ["a", "b"] and np.array_equal(back["b"], arrays["b"])


def test_objects_in_an_npz_are_refused(tmp_path):
    np.savez(str(tmp_path / "evil.npz"), x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ArtifactError, match="evil.npz cannot be read"):
        load_npz(tmp_path / "evil.npz")


def test_an_npz_that_unpacks_to_too_much_is_refused(tmp_path):
    save_npz(tmp_path / "bomb.npz", {"x": np.zeros(1 << 20, np.uint8)})
    with pytest.raises(ArtifactError, match="bomb.npz unpacks to .* bytes, more than 1000"):
        load_npz(tmp_path / "bomb.npz", max_bytes=1000)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nonsense", b"\x93NUMPY"])
def test_a_damaged_npz_is_refused(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ArtifactError, match="x.npz cannot be read"):
        load_npz(tmp_path / "x.npz")
