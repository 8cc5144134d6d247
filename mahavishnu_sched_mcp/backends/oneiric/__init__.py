"""The room of Oneiric: workflows resolved and moved by its bridges, run by our worker."""
