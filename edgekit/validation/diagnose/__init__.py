"""Evidence -> named causes, the likeliest first."""
