"""What a visitor takes along: script, files, report."""
