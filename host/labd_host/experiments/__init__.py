"""Folding experiments: a study of networks, foldings and clocks, predicted, simulated and measured once each."""
