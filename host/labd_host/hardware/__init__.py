"""From a dataflow graph to a bundle: Vivado, its reports, the files a board loads."""
