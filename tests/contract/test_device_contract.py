"""What every door to a board promises, run on each of them.

unittest and Python 3.6, so that it runs where there is no pytest: on a board. Which device is meant
comes from the environment: LABD_CONTRACT_DEVICE ("fake", the default, or "pynq": the board this runs
on), LABD_CONTRACT_BUNDLE (default: the one that ships in bitfiles/).

    fake        python3 -m pytest tests/contract
    pynq        tests/host/virtual_board/test_contract_on_a_board.py sends this file to a board and runs it there
"""

import os
import unittest
from pathlib import Path

import numpy as np

from labd_board.accelerator import Accelerator
from labd_board.dma import DmaEngine
from labd_board.fake import FakeDevice
from labd_board.pynq_device import PynqDevice
from labd_board.selftest import selftest
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import BoardError, DmaBusy, OutOfMemory, UnknownName
from labd_shared.packing import pack_tensor, unpack_tensor
from labd_shared.registers import Control, Iodma

SHIPPED = Path(__file__).resolve().parent.parent.parent / "bitfiles" / "tfc-w1a1-emu"
DEADLINE_S = 10.0


def lookup(golden):
    """A model that knows the golden samples only."""
    answers = {image.tobytes(): answer for image, answer in zip(golden.images, golden.outputs)}
    return lambda images: np.array([answers.get(image.tobytes(), golden.outputs[0] * 0) for image in images])


class DeviceContract(unittest.TestCase):
    def setUp(self):
        self.bundle = open_bundle(os.environ.get("LABD_CONTRACT_BUNDLE", str(SHIPPED)))
        self.golden = load_golden(self.bundle)
        self.source, self.sink = self.bundle.manifest.inputs[0], self.bundle.manifest.outputs[0]
        self.device = self.make_device()
        self.addCleanup(self.device.close)

    def make_device(self):
        if os.environ.get("LABD_CONTRACT_DEVICE", "fake") == "pynq":
            return PynqDevice()
        manifest = self.bundle.manifest
        expected = manifest.expected
        return FakeDevice(
            manifest.inputs,
            manifest.outputs,
            lookup(self.golden),
            cycles_per_frame=expected.cycles_per_frame,
            latency_cycles=expected.latency_cycles,
        )

    def program(self):
        self.device.open()
        self.device.program(str(self.bundle.path("accel.bit")))

    def buffers(self):
        """Both DMA buffers, the input one holding the golden images, the output one zeroed and flushed."""
        frames = len(self.golden.images)
        taken = self.device.allocate(self.source.batched(self.source.packed, frames))
        given = self.device.allocate(self.sink.batched(self.sink.packed, frames))
        given.array[...] = 0
        given.flush()
        pack_tensor(self.golden.images, self.source, taken.array)
        return taken, given

    def transfer(self, taken, given):
        frames = len(self.golden.images)
        odma = DmaEngine(self.sink.dma, self.device.registers(self.sink.dma))
        idma = DmaEngine(self.source.dma, self.device.registers(self.source.dma))
        odma.start(given.physical_address, frames)
        idma.start(taken.physical_address, frames)
        started_s = self.device.now_s()
        while not odma.is_done():
            self.assertLess(self.device.now_s() - started_s, DEADLINE_S, "the output DMA never finished")
        return odma, idma

    def answers(self, given):
        return unpack_tensor(np.array(given.array), self.sink)

    def test_nothing_answers_before_a_bitfile_is_programmed(self):
        with self.assertRaisesRegex(BoardError, "nothing is programmed"):
            self.device.registers("idma0")

    def test_an_unknown_block_offers_the_nearest(self):
        self.program()
        with self.assertRaisesRegex(UnknownName, "no block named 'idma9'"):
            self.device.registers("idma9")

    def test_opening_names_target_and_timing(self):
        self.device.open()
        self.assertIn(self.device.target, ("hw", "emu"))
        self.assertTrue(self.device.timing)

    def test_buffers_are_bytes_at_distinct_pages(self):
        self.program()
        first, second = self.device.allocate((3, 5)), self.device.allocate((7,))
        self.assertEqual((first.array.shape, first.array.dtype), ((3, 5), np.uint8))
        self.assertEqual(first.physical_address % 4096, 0)
        self.assertGreaterEqual(abs(first.physical_address - second.physical_address), 4096)

    def test_memory_is_finite_and_freed_memory_comes_back(self):
        self.program()
        with self.assertRaises(OutOfMemory):
            self.device.allocate((1 << 30,))
        for _ in range(6):
            buffer = self.device.allocate((60 << 20,))
            buffer.free()
            buffer.free()

    def test_the_clock_is_set_and_rounded_by_the_dividers(self):
        self.program()
        self.assertAlmostEqual(self.device.set_clock_mhz(50.0), 50.0, places=3)
        self.assertAlmostEqual(self.device.set_clock_mhz(33.0), 33.0, delta=0.5)
        self.assertAlmostEqual(self.device.set_clock_mhz(100.0), 100.0, places=3)

    def test_time_goes_forward(self):
        self.program()
        moments = [self.device.now_s() for _ in range(5)]
        self.assertEqual(moments, sorted(moments))

    def test_a_transfer_computes_the_golden_answers(self):
        self.program()
        taken, given = self.buffers()
        taken.flush()
        self.transfer(taken, given)
        given.invalidate()
        self.assertTrue(np.array_equal(self.answers(given), self.golden.outputs))

    def test_without_a_flush_the_accelerator_sees_something_else(self):
        self.program()
        taken, given = self.buffers()
        if self.device.target == "hw":
            self.skipTest("on silicon some cache lines reach the memory by themselves")
        self.transfer(taken, given)
        given.invalidate()
        self.assertFalse(np.array_equal(self.answers(given), self.golden.outputs))

    def test_without_an_invalidate_the_processor_sees_something_else(self):
        self.program()
        taken, given = self.buffers()
        if self.device.target == "hw":
            self.skipTest("on silicon some cache lines are fetched anew by themselves")
        taken.flush()
        self.transfer(taken, given)
        self.assertFalse(np.array_equal(self.answers(given), self.golden.outputs))

    def test_done_clears_when_it_is_read(self):
        self.program()
        taken, given = self.buffers()
        taken.flush()
        self.transfer(taken, given)
        status = self.device.registers(self.sink.dma).read(Iodma.CONTROL)
        self.assertFalse(status & Control.DONE)
        self.assertTrue(status & Control.IDLE)

    def test_a_busy_dma_is_not_started_again(self):
        self.program()
        _, given = self.buffers()
        odma = DmaEngine(self.sink.dma, self.device.registers(self.sink.dma))
        odma.start(given.physical_address, 1)
        with self.assertRaisesRegex(DmaBusy, "{} is still busy".format(self.sink.dma)):
            odma.start(given.physical_address, 1)
        self.program()  # programming resets the logic
        DmaEngine(self.sink.dma, self.device.registers(self.sink.dma)).start(given.physical_address, 1)

    def test_the_driver_gives_the_golden_answers_at_any_batch_size(self):
        frames = len(self.golden.images)
        for batch_size in (1, 7, frames, 1000):
            with Accelerator(self.bundle, self.device, batch_size) as accelerator:
                answers = accelerator.run(self.golden.images)
            self.assertTrue(np.array_equal(answers, self.golden.outputs), batch_size)

    def test_the_selftest_passes(self):
        with Accelerator(self.bundle, self.device, len(self.golden.images)) as accelerator:
            self.assertEqual(selftest(accelerator, self.golden, passes=1)["different"], 0)

    def test_facts_name_the_device_and_closing_twice_is_harmless(self):
        self.program()
        self.assertTrue(self.device.facts()["device"])
        self.device.close()
        self.device.close()


if __name__ == "__main__":
    unittest.main()
