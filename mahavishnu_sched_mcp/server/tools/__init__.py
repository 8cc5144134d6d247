"""The tools, one file per family; `factory.py` puts them in the contract's order."""
