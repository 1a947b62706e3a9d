"""Checkpoints: named in weights.toml, downloaded and verified, converted, loaded strictly."""
