"""Names that must have one scale -> groups (disjoint sets with union and find).

Source: Tarjan, "Efficiency of a Good But Not Linear Set Union Algorithm" (1975).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Groups:
    """Disjoint sets of value names; a name that was never joined is alone."""

    parent: dict[str, str] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """The name that stands for the group of ``name``: the smallest one."""
        while self.parent.get(name, name) != name:
            name = self.parent[name]
        return name

    def join(self, left: str, right: str) -> None:
        """Make one group of the groups of both."""
        first, second = sorted((self.root(left), self.root(right)))
        self.parent.setdefault(first, first)
        self.parent[second] = first
        for name in (left, right):
            self.parent.setdefault(name, first)

    def members(self, name: str) -> tuple[str, ...]:
        """The whole group of ``name``, sorted."""
        root = self.root(name)
        return tuple(sorted({name, *(other for other in self.parent if self.root(other) == root)}))
