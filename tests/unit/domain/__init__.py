"""The nouns, as specification."""
