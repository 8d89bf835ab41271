"""Figures for papers, from the document of a report: our own and those of Burns et al. 2023."""
