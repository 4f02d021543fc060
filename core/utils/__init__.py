"""Helpers that know nothing of networks: files, rows on threads, devices, progress."""
