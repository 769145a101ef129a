"""What is kept of a video: plans as data, the methods they name, and applying them to features."""
