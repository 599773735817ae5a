"""Listeners of tests: one that keeps what it hears, one that calls a function."""

from labd_host.machine.listener import Listener


class Kept(Listener):
    """Keeps lines in *said*, output in *lines* and progress in *progressed*."""

    def __init__(self, said=None, lines=None):
        self.said = [] if said is None else said
        self.lines = [] if lines is None else lines
        self.progressed = []

    def say(self, line):
        self.said.append(line)

    def output(self, line):
        self.lines.append(line)

    def progress(self, task, done, total=None, note=""):
        self.progressed.append((task, done, total, note))


class Calls(Listener):
    """Calls a function with each line."""

    def __init__(self, call):
        self.say = call
