"""The dashboard: what a person chooses, computes and sees in the browser."""
