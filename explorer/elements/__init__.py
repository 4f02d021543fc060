"""Data as HoloViews elements: pure functions, for notebooks, reports and tabs."""
