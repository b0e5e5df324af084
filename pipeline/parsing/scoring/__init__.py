"""How good parsers are: images with true labels, and scores against them."""
