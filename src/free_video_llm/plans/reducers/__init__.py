"""Reducers: of the tokens of many frames those that tell most, kept as they are; each one file and
one entry among the pools. From features alone, so that they serve every model."""
