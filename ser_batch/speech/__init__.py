"""A recording becomes the speech regions and segments of each channel."""
