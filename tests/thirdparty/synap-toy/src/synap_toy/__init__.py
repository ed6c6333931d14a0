"""Plugins for the SyNAP toolkit: toy models, a processing unit and a board for them."""
