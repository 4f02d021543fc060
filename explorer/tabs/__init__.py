"""The tabs: what each follows, computes and shows."""
