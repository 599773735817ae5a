"""The labd command; each subcommand is a file of this folder."""
