"""Many questions about many videos: read from files, asked in batches, each with its own row."""
