"""What a reader sees of the results: tables, figures and the page."""
