"""The page that ``synap report`` makes of a bundle."""
