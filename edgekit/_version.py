"""The version: of the package, of the wheel, and in every manifest."""

__version__ = "0.1.0"
