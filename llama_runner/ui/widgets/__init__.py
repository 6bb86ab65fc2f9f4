"""Building blocks of the tabs. Untrusted text reaches the screen through these and nothing else (R6)."""
