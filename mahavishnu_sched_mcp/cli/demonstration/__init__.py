"""The demonstration: a story in steps, told to whoever listens."""
