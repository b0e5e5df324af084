"""How the parser lite is trained: examples, augmentation, losses, the recipe and its model card."""
