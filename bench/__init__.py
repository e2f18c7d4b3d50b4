"""Measurements against peers and limits: `make bench`."""
