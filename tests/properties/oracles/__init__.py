"""Independent answers to compare the product's with."""
