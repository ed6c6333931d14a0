"""Output format ``synap``: a bundle and its report."""
