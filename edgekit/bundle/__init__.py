"""Artifacts and their proof <-> a folder that anybody can check: manifest, hashes, golden vectors."""
