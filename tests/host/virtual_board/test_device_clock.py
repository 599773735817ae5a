"""The clock of a virtual board, on a wall clock the test moves."""

import pytest

from labd_host.virtual_board.device_clock import DeviceClock


class Wall:
    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def clock(wall):
    return DeviceClock(wall)


def test_it_begins_at_zero_and_follows_the_wall(clock, wall):
    assert clock.now_s() == 0.0
    wall.s += 2.5
    assert clock.now_s() == 2.5


def test_it_stands_still_while_anybody_holds_it(clock, wall):
    clock.freeze()
    clock.freeze()
    wall.s += 5
    clock.thaw()
    wall.s += 5
    assert clock.now_s() == 0.0
    clock.thaw()
    wall.s += 1
    assert clock.now_s() == 1.0


def test_lost_time_is_taken_back_as_far_as_nobody_has_seen_it(clock, wall):
    wall.s += 1.0
    assert clock.now_s() == 1.0
    wall.s += 0.5
    clock.lose(0.2)
    assert clock.now_s() == pytest.approx(1.3)
    clock.lose(9.0)
    assert clock.now_s() == pytest.approx(1.3), "it never goes back"
    clock.lose(-1.0)
    assert clock.now_s() == pytest.approx(1.3)


def test_nothing_is_lost_while_it_stands_still(clock, wall):
    clock.freeze()
    wall.s += 3
    clock.lose(1.0)
    clock.thaw()
    wall.s += 1
    assert clock.now_s() == pytest.approx(1.0)


def test_it_skips_forward_only_and_goes_on_from_there(clock, wall):
    clock.skip_to(7.0)
    assert clock.now_s() == pytest.approx(7.0)
    clock.skip_to(3.0)
    wall.s += 1
    assert clock.now_s() == pytest.approx(8.0)


def test_it_skips_while_it_stands_still_too(clock, wall):
    clock.freeze()
    clock.skip_to(2.0)
    wall.s += 4
    assert clock.now_s() == pytest.approx(2.0)
    clock.thaw()
    wall.s += 1
    assert clock.now_s() == pytest.approx(3.0)
