"""The rooms of the house, who imports whom, and their picture: ``python tests/house/rooms.py`` draws docs/rooms.svg.

Imports inside functions and under TYPE_CHECKING count like those at the top: they are dependencies too.
"""

from __future__ import annotations

import ast
from pathlib import Path

TOP = Path(__file__).parents[2]
PACKAGES = {"ue_bench": "ue_bench", "methods": "ue_bench_methods", "victims": "ue_bench_victims"}
FLOORS = (  # of rooms (folders and modules of ue_bench); a room may import its own floor and those below
    "errors bounds words text seeds canonical clock checkpoints threads metrics probes process retrieval progress "
    "measures dimensions",
    "config reading sources provenance scaffold data",
    "contracts training",
    "crafting composition registry parameters floors configure describe datasets defenses",
    "trials",
    "report gallery overview explain publish forecast conformance bench",
    "api cli",
)
AUTHORS = (
    "ue_bench",
    "contracts",
    "crafting",
    "training",
    "data",
    "errors",
    "seeds",
)  # what content stands on


def modules() -> dict[str, Path]:
    """Import name -> file, of the harness, the methods and the victims."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((TOP / folder).rglob("*.py")):
            name = ".".join((package, *path.relative_to(TOP / folder).with_suffix("").parts))
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, package: str = "") -> set[str]:
    """Absolute names of what a file imports anywhere; of ``from package import module`` the module.

    Args:
        path: of the file.
        package: that it lies in, for relative imports.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{source}.{alias.name}" for alias in node.names}
            found.update((inner & MODULES.keys()) or {source})
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


MODULES = modules()
GRAPH = {
    name: imports(path, name if path.name == "__init__.py" else name.rpartition(".")[0]) & MODULES.keys()
    for name, path in MODULES.items()
}


def room(module: str) -> str:
    """``trials`` of ``ue_bench.trials.store``; ``ue_bench`` of the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def floor(module: str) -> int:
    """The number of the floor that a module's room is on."""
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms.split():
            return number
    raise AssertionError(f"{module} is on no floor: add '{room(module)}' to FLOORS")


def inside(module: str, *rooms: str) -> bool:
    """Whether a module of the harness is in one of the rooms."""
    return module.split(".")[0] == "ue_bench" and room(module) in rooms


CONTENT = ("methods", "victims", "datasets", "defenses")
DRAWN = [f"{rooms} methods victims" if rooms == "trials" else rooms for rooms in FLOORS]
PICTURE = TOP / "docs" / "rooms.svg"
WIDTH, HEIGHT, GAP, BAND, LEFT = (
    92,
    30,
    14,
    92,
    120,
)  # of a box, between boxes, of a floor, of its label: pixels
STYLE = """
  text { font: 13px sans-serif; fill: #1b1f24 }
  .box { fill: #ffffff; stroke: #57606a }
  .author { fill: #dbeafe; stroke: #1d4ed8 }
  .content { fill: #fef3c7; stroke: #b45309 }
  .band { fill: #f6f8fa }
  .line { stroke: #8c959f; fill: none; marker-end: url(#tip) }
"""


def room_graph() -> dict[str, set[str]]:
    """room -> the rooms of other floors that it imports; content stands above the harness."""
    graph: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        if (here := _box(module)) == "ue_bench":
            continue
        for other in others - {"ue_bench"}:  # whose names come from the contracts and the front door
            if (there := _box(other)) != here and level(there) < level(here):
                graph.setdefault(here, set()).add(there)
    return graph


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without arrows that two others already imply."""

    def reach(start: str) -> set[str]:
        return {far for near in graph.get(start, ()) for far in (near, *reach(near))}

    return {
        here: {there for there in others if not any(there in reach(near) for near in others - {there})}
        for here, others in graph.items()
    }


def level(name: str) -> int:
    """The floor of a box; methods and victims stand beside the trials, which the harness finds them for."""
    return next(number for number, rooms in enumerate(DRAWN) if name in rooms.split())


def draw() -> str:
    """The rooms as SVG: a band for each floor, and the imports that others do not imply.

    Arrows to the ground floor are left out: every room may use it.
    """
    places, parts = {}, []
    wide = LEFT + max(len(rooms.split()) for rooms in DRAWN) * (WIDTH + GAP) + GAP
    for number, rooms in enumerate(DRAWN):
        top = (len(DRAWN) - 1 - number) * BAND + GAP
        left = LEFT + (wide - LEFT - len(rooms.split()) * (WIDTH + GAP)) // 2
        parts.append(
            f'<rect class="band" x="4" y="{top - 8}" width="{wide - 8}" height="{HEIGHT + 16}" rx="6"/>'
        )
        parts.append(f'<text x="14" y="{top + 20}">floor {number}</text>')
        for place, name in enumerate(rooms.split()):
            places[name] = (left + place * (WIDTH + GAP), top)
    for here, others in sorted(reduced(room_graph()).items()):
        for there in sorted(name for name in others if level(name)):
            (x1, y1), (x2, y2) = places[here], places[there]
            x1, x2, y1 = x1 + WIDTH // 2, x2 + WIDTH // 2, y1 + HEIGHT
            bend = max(20, (y2 - y1) // 2)
            parts.append(
                f'<path class="line" d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2 - 2}"/>'
            )
    for name, (x, y) in places.items():
        kind = "content" if name in CONTENT else "author" if name in AUTHORS else "box"
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>')
        parts.append(f'<text x="{x + WIDTH // 2}" y="{y + 20}" text-anchor="middle">{name}</text>')
    tip = '<marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
    tip += '<path d="M0 0L6 3L0 6z" fill="#8c959f"/></marker>'
    size = f'width="{wide}" height="{len(DRAWN) * BAND}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style><defs>{tip}</defs>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _box(module: str) -> str:
    package = module.split(".")[0]
    return room(module) if package == "ue_bench" else package.removeprefix("ue_bench_")


if __name__ == "__main__":
    PICTURE.write_text(draw())
