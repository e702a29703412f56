"""From a recording to the speech regions and segments of each channel."""
