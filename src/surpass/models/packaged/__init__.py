"""Models out of packages: brought by name, checked, converted once to plain folders and kept in a cache."""
