"""The agent that runs on a board: its requests, and what each does to the files there.

`labd_host.remote.agent` joins these modules to one text, sends it to the board and runs it there as
``python3 -c``, before anything of labd is there. So they are Python 3.6 and standard library only, import
nothing of labd but each other (whole lines, ``from labd_host.remote.board_agent.MODULE import NAME``), and
no top-level name is used in two of them. This file is not sent.

Layout under ROOT (the home's labd/):
    store/SHA256  store/part/SHA256  releases/ID/{bundle,site,release.json}  current -> releases/ID
    history  pending  .lock  .owner  datasets/NAME/SPLIT/  scratch/
"""
