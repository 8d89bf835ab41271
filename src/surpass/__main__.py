"""`python -m surpass` is `surpass`."""

from surpass.cli import main

main()
