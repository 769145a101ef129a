"""Doors into other people's programs, each of which is installed apart: nothing here is imported by
anything else of the package."""
