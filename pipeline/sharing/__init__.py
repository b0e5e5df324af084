"""Checkpoints of others and for others: fetched from the Hugging Face Hub and checked, or pushed with a card."""
