"""Installs what shall go wrong in processes that others start, such as workers of a pool."""

from faults.shims import install

install()
