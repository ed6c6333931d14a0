"""Class labels that lie beside a model."""

from __future__ import annotations

from pathlib import Path

from synap_core.metadata import parse_json

LABELS_FILE = "info.json"
LEVELS_UP = 2
MAX_LABELS_BYTES = 16 << 20


def find_labels(model: Path) -> list[str]:
    """Labels of a model from ``info.json`` (``{"labels": [...]}``) in its folder or up to two above; none without it.

    Raises:
        InputError: The file is there but damaged.
    """
    folder = model.resolve().parent
    for place in (folder, *folder.parents[:LEVELS_UP]):
        path = place / LABELS_FILE
        if path.is_file() and path.stat().st_size <= MAX_LABELS_BYTES:
            root = parse_json(path.read_bytes(), str(path))
            labels = root.get("labels") if isinstance(root, dict) else None
            return [str(label) for label in labels] if isinstance(labels, list) else []
    return []
