"""What `surpass COMMAND` does, where that takes more than a function in `cli`."""
