"""What runs, as specification."""
