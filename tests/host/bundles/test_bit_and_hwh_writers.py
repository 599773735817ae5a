"""The .bit and .hwh of a bundle for virtual boards."""

import pytest

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.hwh_writer import fclk_divisors, write_hwh
from labd_shared.bitfile import PYNQ_Z2_PART, check_part, read_bit
from labd_shared.errors import UnknownName, UsageError, WrongPart
from labd_shared.hwh import read_hwh
from support.emulated import INPUT, OUTPUT

DIGEST = "0123456789abcdef" * 4


def test_a_written_bitfile_is_for_the_board_and_names_its_network(tmp_path):
    write_bit(tmp_path / "accel.bit", network_sha256=DIGEST)
    bit = read_bit(tmp_path / "accel.bit")
    check_part(bit, PYNQ_Z2_PART)
    assert bit.network_sha256() == DIGEST
    assert len(bit.data) % 4 == 0, "pynq swaps whole words"


def test_a_bitfile_for_another_part_is_one(tmp_path):
    write_bit(tmp_path / "accel.bit", network_sha256=None, part="xc7z045ffg900-2")
    with pytest.raises(WrongPart, match="xc7z045ffg900"):
        check_part(read_bit(tmp_path / "accel.bit"), PYNQ_Z2_PART)


def test_an_unknown_part_and_a_wrong_digest_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="xczu3eg"):
        write_bit(tmp_path / "accel.bit", network_sha256=None, part="xczu3eg-sbva484-1")
    with pytest.raises(UsageError, match="is no sha256"):
        write_bit(tmp_path / "accel.bit", network_sha256="abc")


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_bit(tmp_path / f"{name}.bit", network_sha256=DIGEST)
        write_hwh(tmp_path / f"{name}.hwh", clock_mhz=100.0, inputs=(INPUT,), outputs=(OUTPUT,))
    for kind in ("bit", "hwh"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_a_written_hwh_reads_back(tmp_path):
    assert write_hwh(tmp_path / "accel.hwh", clock_mhz=150.0, inputs=(INPUT,), outputs=(OUTPUT,)) < 150.0
    hwh = read_hwh(tmp_path / "accel.hwh")
    assert hwh.part == "xc7z020clg400-1"
    assert hwh.fclk0_mhz == pytest.approx(1000 / 7)
    assert {name: (block.base, block.size) for name, block in hwh.blocks.items()} == {
        "idma0": (0x40000000, 0x1000),
        "odma0": (0x40001000, 0x1000),
    }


@pytest.mark.parametrize(
    "clock_mhz, achieved_mhz",
    [
        (100, 100),
        (50, 50),
        (200, 200),
        (125, 125),
        (142.86, 1000 / 7),
        (33.3, 1000 / 30),
        (187.5, 1000 / 6),
        (0.26, 1000 / 3843),
    ],
)
def test_the_dividers_give_the_fastest_clock_not_above_the_wanted_one(clock_mhz, achieved_mhz):
    first, second = fclk_divisors(clock_mhz)
    assert 1 <= second <= first <= 63
    assert 1000 / (first * second) == pytest.approx(achieved_mhz)


@pytest.mark.parametrize("clock_mhz", [0.1, 0.0, -5.0, 1100.0])
def test_a_clock_that_cannot_be_had_is_refused(clock_mhz):
    with pytest.raises(UsageError, match="0.252 to 1000 MHz can be had"):
        fclk_divisors(clock_mhz)


def test_two_tensors_cannot_share_a_dma(tmp_path):
    with pytest.raises(UsageError, match="share a DMA: idma0, idma0"):
        write_hwh(tmp_path / "accel.hwh", clock_mhz=100.0, inputs=(INPUT, INPUT), outputs=())
