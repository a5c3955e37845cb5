"""Many recipes x targets x options, on processes of this machine or a Dask cluster (docs/sweep.md)."""
