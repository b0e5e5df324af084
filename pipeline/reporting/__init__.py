"""Self-contained HTML pages, plots and picture sheets."""
