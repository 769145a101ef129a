"""Model families and their files: from a name or folder to a running model."""
