"""Boards over SSH: inventory, pinned host keys, transport, releases, and the tasks `fab` offers.

Nothing here imports fabric or paramiko until a connection is opened; `transport` is the only door.
"""
