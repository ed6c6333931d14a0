"""Targets for Synaptics systems on chip."""
