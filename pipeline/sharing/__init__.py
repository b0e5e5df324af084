"""Checkpoints of others and for others: fetched from the Hugging Face Hub and checked, prepared with a card and pushed."""
