"""Where jobs wait: the three engines behind one protocol."""
