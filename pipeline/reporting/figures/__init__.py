"""The paper's pictures of a checkpoint, one module a figure, each with the numbers that the picture shows."""
