"""Leakage: how much of the clothes, and of the identity, a linear reader finds in frozen features."""
