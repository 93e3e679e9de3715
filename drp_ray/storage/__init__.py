"""Folders, their parts and manifests, their leases and their names."""
