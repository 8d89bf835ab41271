"""Solutions in steps: what they are, whether they are right, and what choosing among them is worth.

Nothing here imports torch or reads files: `surpass.data.solutions` reads them.
"""
