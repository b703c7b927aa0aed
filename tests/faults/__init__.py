"""Kills, freezes and outages under load, and a count of what became of every message."""
