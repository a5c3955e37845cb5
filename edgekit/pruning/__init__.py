"""Float model x calibration data -> the same model with fewer channels."""
