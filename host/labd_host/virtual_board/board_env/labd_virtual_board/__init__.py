"""The emulated device behind pynq on a virtual board.

`labd_host.virtual_board.board_root` copies this package into the board's own site-packages, together
with a .pth line that imports `hook`. It needs the standard library, numpy and pynq, nothing of labd.
"""
