"""Faults for real: processes killed and stopped, clocks set, disks full, files damaged."""
