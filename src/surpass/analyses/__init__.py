"""What is read from finished studies; nothing is computed here that takes long."""
