"""Versioned, verified artefacts and the registry that says which one is in service."""

from recsys.artifacts.artifact import Artifact, Histories, pack, unpack
from recsys.artifacts.manifest import ArraySpec, ArtifactManifest, describe
from recsys.artifacts.registry import LocalModelRegistry, ModelRegistry, Pointer
from recsys.artifacts.store import ArtifactStore, LocalArtifactStore, StoredArrays

__all__ = [
    "ArraySpec",
    "Artifact",
    "ArtifactManifest",
    "ArtifactStore",
    "Histories",
    "LocalArtifactStore",
    "LocalModelRegistry",
    "ModelRegistry",
    "Pointer",
    "StoredArrays",
    "describe",
    "pack",
    "unpack",
]
