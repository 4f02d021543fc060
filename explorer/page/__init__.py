"""The page around the tabs: sidebar, status line, tour, glossary, shared widgets."""
