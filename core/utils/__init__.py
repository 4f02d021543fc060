"""What knows nothing of networks: files, rows on threads, devices, progress."""
