"""Threads and child processes: cancelling, fair turns, the shared cache."""
