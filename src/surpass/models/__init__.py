"""Models: where they come from, and the networks of the chess ladder."""
