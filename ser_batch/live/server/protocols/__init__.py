"""One module for each protocol of telephone systems: messages in, audio out."""
