"""The hardware operations: a module for each family, each of which registers its operators."""
