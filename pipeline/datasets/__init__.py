"""Readers that turn a data set's file names or table into a manifest, and the rendered data set (walkers)."""
