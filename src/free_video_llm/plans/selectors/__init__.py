"""Selectors of the field, each one file and one entry of the registry; the plain ones are in
`plans/select.py`."""
