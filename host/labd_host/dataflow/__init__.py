"""The nouns of a dataflow accelerator: layers, folding, network file, cycles, resources, parts."""
