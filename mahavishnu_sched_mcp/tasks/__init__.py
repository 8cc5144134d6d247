"""What runs: the operator's tasks, and how each kind is executed."""
