"""Progress: plain lines now and then, with the time left; nothing for what takes a moment."""

import io

from labd.progress import LINE_EVERY_S, ProgressLines


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_a_task_is_shown_now_and_then_with_the_time_left_and_at_its_end():
    stream, clock = io.StringIO(), Clock()
    lines = ProgressLines(stream, now_s=clock)
    for done in range(0, 101):
        clock.now_s = done * 0.4
        lines.progress("upload", done, 100, f"{done} MB")
    shown = stream.getvalue().splitlines()
    assert shown == ["upload: 25 %, 30 s left  25 MB", "upload: 50 %, 20 s left  50 MB",
                     "upload: 75 %, 10 s left  75 MB", "upload: 100 %, 0 s left  100 MB"]  # fmt: skip


def test_what_takes_a_moment_and_what_has_no_end_are_not_in_the_way():
    stream, clock = io.StringIO(), Clock()
    lines = ProgressLines(stream, now_s=clock)
    lines.progress("short", 0, 10)
    clock.now_s = LINE_EVERY_S / 2
    lines.progress("short", 10, 10)
    lines.progress("endless", 0)
    clock.now_s = LINE_EVERY_S * 2
    lines.progress("endless", 0, None, "a note")
    assert stream.getvalue() == "endless:  a note\n"


def test_lines_and_results_go_to_their_own_streams_and_a_prefix_stands_before_both():
    stream, outputs = io.StringIO(), io.StringIO()
    lines = ProgressLines(stream, outputs)
    lines.say("plain")
    lines.of("[03] ").say("one board")
    lines.of("[03] ").output("its result")
    assert (stream.getvalue(), outputs.getvalue()) == ("plain\n[03] one board\n", "[03] its result\n")
