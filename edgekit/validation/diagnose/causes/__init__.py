"""One cause, or one family, in each file: Evidence -> the causes that it shows."""
