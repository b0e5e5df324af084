"""One loss a file; each names its equation of the paper (arXiv 2406.09198)."""
