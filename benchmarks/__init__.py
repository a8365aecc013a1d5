"""Measurements of semicrf: speed, peers, and tasks on real data."""
