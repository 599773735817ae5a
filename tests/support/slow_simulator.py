"""A slow, obvious simulator to compare the fast one with: objects, queues of words, no numba.

Every unit decides on what it sees when a cycle begins; then all of them act. A window is written down
register by register as FINN's swg_template_default.sv and swg_template_parallel.sv have it, an upsampling as
finn-hlslib's upsample.hpp has it.
"""

from collections import deque

from labd_host.dataflow.programs import READ, WRITE, Gear, Loop, Replay, Window


class Queue:
    def __init__(self, depth):
        self.depth, self.words, self.most = depth, 0, 0
        self.coming = self.going = 0

    def room(self):
        return self.words < self.depth

    def settle(self):
        self.words += self.coming - self.going
        self.coming = self.going = 0
        assert 0 <= self.words <= self.depth
        self.most = max(self.most, self.words)


class Unit:
    def __init__(self, program, inputs, outputs, frames):
        self.program, self.inputs, self.outputs = program, inputs, outputs
        self.frames_left = frames if not inputs else None
        self.begin()

    def begin(self):
        pass

    def can_read(self):
        return all(queue.words for queue in self.inputs)

    def can_write(self):
        return all(queue.room() for queue in self.outputs)

    def read(self):
        for queue in self.inputs:
            queue.going += 1

    def write(self):
        for queue in self.outputs:
            queue.coming += 1


class LoopUnit(Unit):
    def begin(self):
        self.todo = deque(list(self.program.steps) * self.program.rounds)
        self.pipeline = deque()  # cycles in which the words in it come out
        self.starts = 0
        self.done = []

    def cycle(self, now):
        """Returns whether something happened or will happen by itself."""
        alive = False
        if self.pipeline and self.pipeline[0] > now:
            alive = True
        elif self.pipeline and self.can_write():
            self.pipeline.popleft()
            self.write()
            alive = True
            if self.starts is None and not self.pipeline:
                self.starts = now + 2
        if self.frames_left == 0 or self.starts is None:
            return alive
        if self.starts > now:
            return True
        what = self.todo[0]
        if what & READ and not self.can_read():
            return alive
        if what & WRITE:
            if self.program.latency_cycles == 0:
                if not self.can_write():
                    return alive
                self.write()
            elif len(self.pipeline) > self.program.latency_cycles:
                return alive
            else:
                self.pipeline.append(now + self.program.latency_cycles)
        if what & READ:
            self.read()
        self.todo.popleft()
        if not self.todo:
            self.todo = deque(list(self.program.steps) * self.program.rounds)
            self.done.append(now)
            if self.frames_left is not None:
                self.frames_left -= 1
            if self.program.drains:
                self.starts = None
        return True


class WindowUnit(Unit):
    """swg_template_default.sv"""

    def begin(self):
        self.newest, self.position = -1, 0
        self.write_cmd = self.fetching_done = self.writing_done = False

    def cycle(self, now):
        program = self.program
        last = program.reads - 1
        reading_done = self.newest == last
        write_ok = self.write_cmd and self.can_write()
        write_blocked = self.write_cmd and not self.can_write()
        needs = program.needs[self.position] if not self.fetching_done else None
        fetch_cmd = not self.fetching_done and not needs > self.newest and not write_blocked
        read_cmd = not reading_done and (
            self.fetching_done
            or (
                self.newest - (program.buffer - 1) < program.keeps[self.position]
                and self.newest - (program.buffer - 1) < needs
            )
        )
        read_ok = read_cmd and self.can_read()
        reading_last = read_ok and self.newest == last - 1
        starts_over = reading_last and self.writing_done
        if write_ok and self.fetching_done:
            if reading_done or reading_last:
                starts_over = True
            else:
                self.writing_done = True
        if write_ok:
            self.write()
            self.write_cmd = False
        if read_ok:
            self.read()
            self.newest += 1
        if fetch_cmd:
            self.write_cmd = True
            self.position += 1
            self.fetching_done = self.position == len(program.needs)
        if starts_over:
            self.newest, self.position = -1, 0
            self.fetching_done = self.writing_done = False
        return bool(write_ok or read_ok or fetch_cmd)


class WholeWindowUnit(Unit):
    """swg_template_parallel.sv"""

    def begin(self):
        self.newest, self.position = -1, 0
        self.writing_done = self.write_done = False

    def cycle(self, now):
        program = self.program
        last = program.reads - 1
        end = len(program.needs) - 1
        current = program.needs[min(self.position, end)]
        ready = self.can_write()
        write_cmd = not current > self.newest and not self.writing_done
        write_ok = write_cmd and (ready or self.write_done)
        write_blocked = write_cmd and not ready and not self.write_done
        reading_done = self.newest == last
        read_cmd = not reading_done and (self.writing_done or self.newest <= current)
        read_ok = read_cmd and self.can_read() and not write_blocked
        advance = read_ok or (not read_cmd and write_ok) or (not read_cmd and not write_cmd)
        if write_cmd and not self.write_done and ready:
            self.write()
        if read_ok:
            self.read()
        starts_over = read_ok and self.newest == last - 1 and self.writing_done
        if write_ok and self.position == end:
            starts_over = starts_over or reading_done or (read_ok and self.newest == last - 1)
            self.writing_done = True
        if write_ok:
            self.position += 1
        self.write_done = False if advance else (True if write_ok else self.write_done)
        self.newest += read_ok
        if starts_over:
            self.newest, self.position, self.writing_done = -1, 0, False
        return bool(read_ok or write_ok)


class ReplayUnit(Unit):
    """upsample_nn of upsample.hpp; pointers count from the first frame on."""

    def begin(self):
        self.write_pointers = [0] * 4
        self.free_pointer = self.fetched = 0
        self.valid = False

    def cycle(self, now):
        program, frame = self.program, self.fetched // len(self.program.needs)
        position = self.fetched % len(program.needs)
        before = list(self.write_pointers)
        self.write_pointers[1:] = self.write_pointers[:-1]
        happened = self.write_pointers != before
        if self.write_pointers[0] - self.free_pointer < program.buffer and self.can_read():
            self.read()
            self.write_pointers[0] += 1
            happened = True
        if self.valid and self.can_write():
            self.write()
            self.valid = False
            happened = True
        if not self.valid and frame * program.reads + program.needs[position] < self.write_pointers[3]:
            self.valid = happened = True
            self.fetched += 1
            following = (position + 1) % len(program.needs)
            self.free_pointer = self.fetched // len(program.needs) * program.reads + program.keeps[following]
        return happened


class GearUnit(Unit):
    def begin(self):
        self.values = 0

    def cycle(self, now):
        full, hungry = self.values >= self.program.gives, self.values <= self.program.gives
        wrote, took = full and self.can_write(), hungry and self.can_read()
        if wrote:
            self.write()
            self.values -= self.program.gives
        if took:
            self.read()
            self.values += self.program.takes
        return wrote or took


def run(machine, frames):
    """Returns (cycles in which frames left, most words of each FIFO), or None where it is dead."""
    queues = [Queue(fifo.depth) for fifo in machine.fifos]
    units = []
    for unit in machine.units:
        kinds = {Loop: LoopUnit, Window: WindowUnit, Replay: ReplayUnit, Gear: GearUnit}
        kind = kinds.get(type(unit.program), WholeWindowUnit)
        inputs, outputs = [queues[each] for each in unit.inputs], [queues[each] for each in unit.outputs]
        units.append(kind(unit.program, inputs, outputs, frames))
    sink = next(unit for unit in units if not unit.outputs)
    now = 0
    while len(sink.done) < frames:
        alive = [unit.cycle(now) for unit in units]
        for queue in queues:
            queue.settle()
        if len(sink.done) < frames and not any(alive):
            return None
        now += 1
    return sink.done, [queue.most for queue in queues]
