"""What lies in a server's model repository."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RepositoryVersion:
    """One version in the repository, served or not."""

    name: str
    """The model's name."""
    version: str
    """Its number; empty where something is wrong with the model as a whole."""
    state: str
    """ready, loading, unloading or unavailable."""
    reason: str
    """Why it is not served, or why its newer files are not; empty where there is nothing to say."""
