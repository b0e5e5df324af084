"""Walkers: rendered pedestrians that change clothes, with exact label maps and captions."""
