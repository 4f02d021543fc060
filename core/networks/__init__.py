"""Any SR network as a module: running it, tiling its images, storing the weights it computes."""
