"""Bundles: the folder that a board runs, written whole or not at all."""
