"""Importers of operators; every module registers its own in `synap_frontend_tensorflow.importer.registry`."""
