"""Float model x data -> Ranges. Streaming: one batch in memory, whatever the number of samples."""
