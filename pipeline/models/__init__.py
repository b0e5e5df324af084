"""open_clip image and text encoders with non-square grids, prompt learners, heads, checkpoints."""
