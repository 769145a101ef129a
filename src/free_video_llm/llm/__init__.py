"""Visual tokens and a prompt to text."""
