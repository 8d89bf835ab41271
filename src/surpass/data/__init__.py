"""Data sets from outside: where they live, how their files are read, and what their rows mean. No torch."""
