"""Measuring: operations, memory, seconds."""
