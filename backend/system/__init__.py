"""The server about itself: health, and the callbacks of its compute workers."""
