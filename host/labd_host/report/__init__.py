"""What labd shows a person about a run."""
