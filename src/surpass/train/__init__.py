"""Training and labelling: recipes, the one loop, checkpoints."""
