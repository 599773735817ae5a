"""The cycle simulator and the pictures of its runs."""
