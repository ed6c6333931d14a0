"""Output format ``nb``: a single compiled model and its metadata, as runtimes of version 2 load them."""
