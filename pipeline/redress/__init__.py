"""Counterfactual clothes: an image whose people wear other clothes, made from its label map."""
