"""What a folding costs and gives, before anything is built."""
