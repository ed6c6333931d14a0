"""Importers of layer types; every module registers its own in `synap_frontend_caffe.importer.registry`."""
