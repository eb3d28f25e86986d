"""The sections of the page Operations: one is read and drawn at a time."""
