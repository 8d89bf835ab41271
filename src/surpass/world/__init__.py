"""An offline world of reasoning: problems by seed, an exact checker of steps, and small language models."""
