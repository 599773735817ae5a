"""What a stage of the flow computed, brought to comparable form, and whether two stages agree."""
