"""Frames to features: the vision encoders, what they say of a video, and where it is kept."""
