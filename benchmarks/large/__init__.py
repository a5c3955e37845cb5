"""Models too large for protobuf, and what the verbs hold in memory while they work on them."""
