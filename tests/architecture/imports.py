"""Finds what the design forbids, by reading source code and never running it."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("backend", "compute", "examples", "starling_client")

# Where a package lies, if not at the root: the SDK is a distribution of its own.
FOLDERS = {"starling_client": "client/starling_client"}

# Names that say nothing about what a module is for.
BANNED_MODULE_NAMES = {
    *("utils", "util", "helpers", "helper", "common", "misc"),
    *("manager", "managers", "handler", "handlers", "data", "info"),
}

# What the backend may know of compute: messages, the blob store, and the door.
BACKEND_USES_OF_COMPUTE = (
    "compute.contract",
    "compute.blobs",
    "compute.gateway",
    "compute.ray_gateway",
    "compute.cluster",
    "compute.simulation.contract",
    "compute.simulation.sessions",
)

# What an example shares with the project, instead of a twin: arithmetic without a server in it.
EXAMPLES_USES_OF_COMPUTE = ("compute.simulation.partitions",)

# What a package may import of the others, and why no more.
KNOWS: dict[str, tuple[tuple[str, ...], str]] = {
    "backend": (("compute",), "the backend does not know who uses it"),
    "compute": ((), "compute does not know who uses it"),
    "examples": (
        ("starling_client", *EXAMPLES_USES_OF_COMPUTE),
        "examples talk HTTP, as any user does",
    ),
    "starling_client": ((), "the client installs alone, and knows the server by its REST API"),
}

# Everything else in compute is plain code that runs without Ray.
MAY_IMPORT_RAY = (
    "compute.ray_gateway",
    "compute.cluster",
    "compute.cluster_state",
    "compute.actors",
    "compute.simulation.ray_workers",
)

# Ray is asked to do something in one place only, and in one for simulations.
MAY_CALL_RAY = ("compute.ray_gateway", "compute.simulation.ray_workers")

READS_ENVIRONMENT = "backend.settings"

STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    tree: ast.Module

    def within(self, *packages: str) -> bool:
        """Whether the module is one of `packages` or inside one."""
        return any(is_within(self.name, package) for package in packages)

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported dotted name with its line, wherever in the file the import stands.

        `from a import b` counts as `a.b`: only a look at the disk could tell whether `b` is a
        module, and every rule is about prefixes.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    yield f"{base}.{alias.name}", node.lineno
            elif isinstance(node, ast.Call) and _is_dynamic_import(node.func):
                for argument in node.args[:1]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, node.lineno

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        package = self.name.split(".")[: -node.level]
        return ".".join([*package, *((node.module or "").split("."))]).rstrip(".")


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _is_dynamic_import(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in {"__import__", "import_module"}
    return isinstance(function, ast.Attribute) and function.attr == "import_module"


def read_modules(root: Path) -> list[Module]:
    """Every module of the project's packages under `root`."""
    modules = []
    for package in PACKAGES:
        folder = root / FOLDERS.get(package, package)
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules.append(Module(name, ast.parse(path.read_text(), filename=str(path))))
    return modules


def violations(root: Path) -> list[str]:
    """One sentence for each thing in the packages under `root` that the design forbids."""
    found: list[str] = []
    for module in read_modules(root):
        found += _forbidden_imports(module)
        found += _forbidden_ray_calls(module)
        found += _environment_reads(module)
        if BANNED_MODULE_NAMES & set(module.name.split(".")):
            found.append(f"{module.name}: the name does not say what the module is for")
    return found


def _forbidden_imports(module: Module) -> Iterator[str]:
    for imported, line in module.imports():
        reason = _why_forbidden(module, imported)
        if reason is not None:
            yield f"{module.name}:{line} imports {imported}: {reason}"


def _why_forbidden(module: Module, imported: str) -> str | None:
    def imports(*packages: str) -> bool:
        return any(is_within(imported, package) for package in packages)

    if module.within("backend"):
        if imports("torch", "torchvision", "ray"):
            return "the web process never loads torch or ray"
        if imports("compute") and not imports(*BACKEND_USES_OF_COMPUTE):
            return "the backend knows compute by its contract, blobs and gateway only"
    if module.within("compute") and imports("ray") and not module.within(*MAY_IMPORT_RAY):
        return "algorithms and formats run without Ray"
    for package, (known, reason) in KNOWS.items():
        if module.within(package) and imports(*PACKAGES) and not imports(package, *known):
            return reason
    allowed = _only_these(module)
    if (
        allowed is not None
        and imported.split(".", maxsplit=1)[0] not in STDLIB
        and not imports(*allowed)
    ):
        return f"besides the standard library only {', '.join(allowed)} may be imported here"
    return None


def _only_these(module: Module) -> tuple[str, ...] | None:
    if module.within("compute.contract", "backend.rounds.state"):
        return ("msgspec",)
    if module.within("compute.blobs"):
        return ("msgspec", "obstore", "compute.contract")
    if module.within("compute.strategies", "compute.uncertainty", "compute.state_dicts"):
        return ("torch", "msgspec", "compute")
    return None


def _forbidden_ray_calls(module: Module) -> Iterator[str]:
    if module.within(*MAY_CALL_RAY):
        return
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of_ray = isinstance(node.func.value, ast.Name) and node.func.value.id == "ray"
        if (node.func.attr == "remote" and not of_ray) or (of_ray and node.func.attr == "get"):
            yield f"{module.name}:{node.lineno} calls Ray: only the gateway does"


def _environment_reads(module: Module) -> Iterator[str]:
    if not module.within("backend") or module.within(READS_ENVIRONMENT):
        return
    # Setting a variable for a library that takes nothing else is not reading a setting.
    assigned = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
            of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
            if of_os and id(node) not in assigned:
                yield f"{module.name}:{node.lineno} reads the environment: only settings do"
    for imported, line in module.imports():
        if imported in {"os.environ", "os.getenv", "os.environb"}:
            yield f"{module.name}:{line} reads the environment: only settings do"
