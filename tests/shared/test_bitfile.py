"""Reading .bit files. Python 3.6 code."""

import struct

import pytest

from labd_shared.bitfile import NETWORK_MARK, check_part, parse_bit, read_bit
from labd_shared.errors import ArtifactError, WrongPart

DIGEST = "0123456789abcdef" * 4


def make_bit(part="7z020clg400", idcode=0x03727093, sync=0xAA995566, payload=b""):
    """A .bit as Vivado lays it out, with a stream that only synchronises and names its device."""
    data = struct.pack(">6I", 0xFFFFFFFF, sync, 0x20000000, 0x30018001, idcode, 0x20000000) + payload
    head = bytes.fromhex("00090ff00ff00ff00ff0000001")
    texts = [
        (b"a", "top_wrapper;UserID=0XFFFFFFFF;Version=2023.2"),
        (b"b", part),
        (b"c", "2026/08/01"),
        (b"d", "20:26:03"),
    ]
    for key, text in texts:
        field = text.encode("ascii") + b"\0"
        head += key + struct.pack(">H", len(field)) + field
    return head + b"e" + struct.pack(">I", len(data)) + data


def test_the_header_of_a_vivado_bitfile_is_read(tmp_path):
    (tmp_path / "top.bit").write_bytes(make_bit())
    bit = read_bit(tmp_path / "top.bit")
    assert bit[:5] == ("top_wrapper", "2023.2", "7z020clg400", "2026/08/01", "20:26:03")
    assert bit.idcode == 0x03727093
    assert len(bit.data) == 24


def test_a_bitfile_for_the_boards_part_is_accepted():
    check_part(parse_bit(make_bit()), "xc7z020clg400-1")


def test_another_silicon_revision_of_the_part_is_accepted():
    check_part(parse_bit(make_bit(idcode=0x23727093)), "xc7z020clg400-1")


def test_a_bitfile_for_another_part_is_refused_naming_both():
    with pytest.raises(WrongPart, match="xczu5evsfvc784.*xc7z020clg400-1"):
        check_part(parse_bit(make_bit(part="zu5evsfvc784-1", idcode=0x04720093)), "xc7z020clg400-1")


def test_an_idcode_that_contradicts_the_header_is_refused_naming_its_device():
    with pytest.raises(WrongPart, match=r"03722093 \(xc7z010\).*03727093"):
        check_part(parse_bit(make_bit(idcode=0x03722093)), "xc7z020clg400-1")


def test_a_stream_that_names_no_device_is_refused():
    content = make_bit().replace(bytes.fromhex("3001800103727093"), bytes.fromhex("2000000020000000"))
    with pytest.raises(WrongPart, match="00000000"):
        check_part(parse_bit(content), "xc7z020clg400-1")


def test_a_bitfile_cut_short_anywhere_is_refused():
    whole = make_bit()
    for length in range(len(whole)):
        with pytest.raises(ArtifactError):
            parse_bit(whole[:length])


def test_the_error_for_missing_configuration_says_both_lengths():
    with pytest.raises(ArtifactError, match="holds 23 bytes of configuration, its header says 24"):
        parse_bit(make_bit()[:-1])


def test_bytes_behind_the_configuration_are_refused():
    with pytest.raises(ArtifactError, match="holds 25 bytes of configuration, its header says 24"):
        parse_bit(make_bit() + b"\0")


def test_a_stream_without_sync_word_is_refused():
    with pytest.raises(ArtifactError, match="no sync word AA995566"):
        parse_bit(make_bit(sync=0x20000000))


def test_something_else_than_a_bitfile_is_refused():
    with pytest.raises(ArtifactError, match="does not begin like a .bit file"):
        parse_bit(b"PK\3\4" + bytes(100))


def test_a_missing_bitfile_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="none.bit cannot be read: No such file"):
        read_bit(tmp_path / "none.bit")


def test_a_file_larger_than_any_bitfile_is_not_read(tmp_path):
    with open(str(tmp_path / "huge.bit"), "wb") as handle:
        handle.truncate(65 << 20)
    with pytest.raises(ArtifactError, match="has 68157440 bytes, more than 67108864"):
        read_bit(tmp_path / "huge.bit")


def test_the_digest_of_the_network_is_found():
    bit = parse_bit(make_bit(payload=NETWORK_MARK + DIGEST.encode("ascii")))
    assert bit.network_sha256() == DIGEST


def test_a_bitfile_for_hardware_names_no_network():
    assert parse_bit(make_bit()).network_sha256() is None
