"""The chess ladder: reading games, pretraining the rungs, and their model card."""
