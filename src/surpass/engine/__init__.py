"""Engines: they run the graph of a study's stages against a store."""
