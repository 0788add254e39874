"""The reference of the SDK, made from what `starling_client` exports.

griffe reads the source without running it: types and defaults stay as they were written, and
docstrings come in their sections. What signatures and fields name of the package is described too,
exported or not. Something public without words ends the build.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

import griffe
from markup import document, table

CLIENT = Path(__file__).parent.parent / "client"
PACKAGE = "starling_client"
SIGNATURE_COLUMNS = 80

T = TypeVar("T")

# In the order in which somebody meets them; what is found besides comes after them.
PARTS: dict[str, tuple[str, ...]] = {
    "Take part": (
        "join",
        "join_async",
        "Task",
        "AsyncTask",
        "TaskKind",
        "Receipt",
        "Outcome",
        "Webhook",
        "proximal",
        "SwagMoments",
        "clip_update",
    ),
    "Run trainings": (
        "register",
        "Account",
        "Starling",
        "Models",
        "Trainings",
        "AsyncStarling",
        "AsyncModels",
        "AsyncTrainings",
        "Event",
        "Prediction",
    ),
}


class Undocumented(Exception):
    """Somebody who uses the package meets this, and nothing says what it is."""


def sdk_page() -> str:
    """Everything that the package offers."""
    return document(Reference().blocks())


def with_links(page: str) -> str:
    """The page in HTML, with the names in its signatures and samples linked."""
    found = set(re.findall(r'<h3 id="(\w+)"', page))

    def link(name: re.Match[str]) -> str:
        return f'<a href="#{name[0]}">{name[0]}</a>' if name[0] in found else name[0]

    return re.sub(r'(?<=<span class="n">)\w+(?=</span>)', link, page)


class Reference:
    """What is on the page.

    Attributes:
        found: Functions, classes, and names of types, each by its own name.
        errors: Those of `starling_client.errors`.
        anchors: What can be linked to: all of these, and the methods.
    """

    def __init__(self) -> None:
        package = griffe.load(PACKAGE, search_paths=[CLIENT], allow_inspection=False)
        self._package = resolved(package)
        self._errors = resolved(package["errors"])
        self.errors = {
            name: member
            for name, member in self._errors.members.items()
            if isinstance(member, griffe.Class)
        }
        self.found: dict[str, griffe.Object] = {}
        for name in self._package.exports or ():
            self._find(resolved(package[str(name)]))
        self.anchors = {*self.found, *self.errors, f"{PACKAGE}.errors"}
        for name, each in self.found.items():
            if isinstance(each, griffe.Class) and self.twin_of(each) is None:
                self.anchors.update(f"{name}.{method.name}" for method in methods(each))

    def blocks(self) -> Iterator[str]:
        """The page."""
        yield "# SDK"
        yield from self.sections(self._package, PACKAGE)
        yield (
            "How to begin: [client library](../client.md). All that `starling_client` exports is "
            "on this page, and what that takes and gives."
        )
        for part, names in PARTS.items():
            yield f"## {part}"
            for name in names:
                yield from self.entry(self.found[name])
        yield f"## Errors {{#{PACKAGE}.errors}}"
        yield from self.sections(self._errors, f"{PACKAGE}.errors")
        yield table(("error", "what it says", "attributes"), map(self.error, self.errors.values()))
        yield "## Taken and given"
        yield f"What signatures above name, and `{PACKAGE}` itself does not export."
        placed = {name for names in PARTS.values() for name in names}
        for name in sorted(self.found.keys() - placed, key=str.lower):
            yield from self.entry(self.found[name])

    def entry(self, described: griffe.Object) -> Iterator[str]:
        """A function, a class, or a name of a type."""
        name = described.name
        yield f"### `{name}` {{#{name}}}"
        if (original := self.twin_of(described)) is not None:
            require_same(described, original)
            yield from self.sections(described, name)
            same = "Members" if described.is_class else "Arguments"
            yield f"{same} are those of [`{original.name}`](#{original.name})."
        elif isinstance(described, griffe.Class):
            yield from self.class_entry(described)
        elif isinstance(described, griffe.Function):
            yield from self.function_entry(described, name)
        else:
            value = described.value if isinstance(described, griffe.Attribute) else None
            yield fenced(f"{name} = {written(value)}")
            yield from self.sections(described, name)

    def class_entry(self, described: griffe.Class) -> Iterator[str]:
        """A class: what makes it, where that is not for the package alone, and its members."""
        name = described.name
        made = described.members.get("__init__")
        if isinstance(made, griffe.Function) and made.docstring is not None:
            yield fenced(signature(made, name))
            yield from self.sections(described, name)
            yield from self.sections(made, name)
        else:
            yield from self.sections(described, name)
        yield from self.members_table(described)
        for method in methods(described):
            full_name = f"{name}.{method.name}"
            yield f"#### `{full_name}` {{#{full_name}}}"
            yield from self.function_entry(method, full_name)

    def function_entry(self, described: griffe.Function, full_name: str) -> Iterator[str]:
        """A function or method."""
        variants = described.overloads or [described]
        yield fenced("\n".join(signature(each, described.name) for each in variants))
        yield from self.sections(described, full_name)

    def members_table(self, described: griffe.Class) -> Iterator[str]:
        """Fields, attributes and properties of a class, and the members of an enum."""
        members = [member for member in public(described) if isinstance(member, griffe.Attribute)]
        require_known(described, attributes(described), (member.name for member in members))
        is_enum = any(str(base) in {"Enum", "StrEnum"} for base in described.bases)
        # Users make dataclasses; structs come from the server, whatever it leaves out.
        has_values = is_enum or "dataclass" in described.labels
        rows = [
            (
                f"`{each.name}`",
                self.typed(written(each.annotation) if is_enum else annotated(each)),
                f"`{written(each.value)}`" if has_values and each.value is not None else "",
                self.meaning(described, each),
            )
            for each in members
        ]
        head = ("attribute", "type", "value" if is_enum else "default", "meaning")
        columns = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
        if columns:
            head, *shown = zip(*columns, strict=True)
            yield table(head, shown)

    def typed(self, annotation: str) -> str:
        """A type, for a cell of a table."""
        parts = re.split(r"(\w+)", html.escape(annotation).replace("|", "&#124;"))
        shown = [f'<a href="#{part}">{part}</a>' if part in self.found else part for part in parts]
        return f"<code>{''.join(shown)}</code>" if annotation else ""

    def meaning(self, described: griffe.Class, member: griffe.Attribute) -> str:
        """What a field, an attribute or a property is, for a cell of a table."""
        if member.docstring is not None:
            blocks = "\n".join(self.sections(member, described.name))
            return " ".join(re.sub(r"^- ", "", blocks, flags=re.MULTILINE).split())
        said = required(attributes(described).get(member.name), member)
        return self.linked(" ".join(said.split()), described.name)

    def error(self, described: griffe.Class) -> tuple[str, str, str]:
        """A line of the errors' table."""
        name = described.name
        own = [
            f"`{member.name}` ({self.typed(annotated(member))}): {self.meaning(described, member)}"
            for member in described.members.values()
            if isinstance(member, griffe.Attribute)
        ]
        words = " ".join(self.sections(described, name))
        return f"`{name}`{{#{name}}}", words, "<br>".join(own)

    def sections(self, described: griffe.Object, here: str) -> Iterator[str]:
        """A docstring, without what it says about attributes.

        Args:
            here: What is not linked, for it is where one reads.
        """
        for section in parsed(described):
            match section:
                case griffe.DocstringSectionText():
                    yield from self.prose(section.value, here)
                case griffe.DocstringSectionParameters():
                    said = {each.name: each.description for each in section.value}
                    known = getattr(described, "parameters", ())
                    require_known(described, said, (parameter.name for parameter in known))
                    yield "Arguments:"
                    yield self.items(said, here)
                case griffe.DocstringSectionReturns():
                    yield f"Returns: {self.linked(section.value[0].description, here)}"
                case griffe.DocstringSectionRaises():
                    said = {str(each.annotation): each.description for each in section.value}
                    yield "Raises:"
                    yield self.items(said, here)
                case griffe.DocstringSectionAttributes():
                    pass
                case _:
                    raise Undocumented(f"{described.path}: nothing shows its {section.kind.value}")

    def prose(self, text: str, here: str) -> Iterator[str]:
        """Paragraphs, code samples and drawings of a docstring."""
        for language, blocks in groupby(text.split("\n\n"), language_of):
            block = "\n\n".join(blocks)
            yield fenced(dedent(block), language) if language else self.linked(block, here)

    def items(self, said: Mapping[str, str], here: str) -> str:
        """A list of names, or of several with commas between, and what is said about them."""
        lines = []
        for names, description in said.items():
            each = ", ".join(
                f"[`{name}`](#{name})" if name in self.errors else f"`{name}`"
                for name in re.findall(r"\w+", names)
            )
            lines.append(f"- {each}: {self.linked(' '.join(description.split()), here)}")
        return "\n".join(lines)

    def linked(self, text: str, here: str) -> str:
        """The text, with what is on the page linked: names in it, and other pages."""

        def link(name: re.Match[str]) -> str:
            for anchor in (name[1], f"{here.partition('.')[0]}.{name[1]}"):
                if anchor in self.anchors and anchor != here:
                    return f"[`{name[1]}`](#{anchor})"
            return name[0]

        text = re.sub(r"`([\w.]+)`", link, text)
        text = re.sub(r"\bSTARLING_CLIENT_[A-Z]+", r"[`\g<0>`](settings.md#client)", text)
        return re.sub(r"\bdocs/([\w/-]+\.md)", r"[\1](../\1)", text)

    def twin_of(self, described: griffe.Object) -> griffe.Object | None:
        """What this is the same as, for who awaits."""
        name = described.name.removeprefix("Async").removesuffix("_async")
        return self.found.get(name) if name != described.name else None

    def _find(self, described: griffe.Object) -> None:
        if described.name in self.found or described.module is self._errors:
            return
        self.found[described.name] = described
        for annotation in annotations(described):
            for part in annotation.iterate():
                if isinstance(part, griffe.ExprName):
                    self._find_named(part.canonical_path)

    def _find_named(self, path: str) -> None:
        # Methods called like a builtin are no types.
        if path.startswith(f"{PACKAGE}."):
            named = resolved(self._package.modules_collection[path])
            if not isinstance(named, griffe.Function):
                self._find(named)


def resolved(described: griffe.Object | griffe.Alias) -> griffe.Object:
    """What is behind the names that something was imported by, or inherited."""
    return described.final_target if isinstance(described, griffe.Alias) else described


def public(described: griffe.Class) -> Iterator[griffe.Object]:
    """The members that somebody uses, inherited ones first."""
    for name, member in described.all_members.items():
        if not name.startswith("_"):
            yield resolved(member)


def methods(described: griffe.Class) -> Iterator[griffe.Function]:
    """The public ones."""
    for member in public(described):
        if isinstance(member, griffe.Function):
            yield member


def annotations(described: griffe.Object) -> Iterator[griffe.Expr]:
    """The types that somebody meets who uses this."""
    found: list[griffe.Expr | str | None] = []
    if isinstance(described, griffe.Class):
        for member in public(described):
            found += annotations(member)
    elif isinstance(described, griffe.Function):
        for each in described.overloads or [described]:
            found += [each.returns, *(parameter.annotation for parameter in each.parameters)]
    elif isinstance(described, griffe.Attribute):
        # The name of a type has no type of its own, but is one.
        in_module = isinstance(described.parent, griffe.Module)
        found.append(described.value if in_module else described.annotation)
    yield from (each for each in found if isinstance(each, griffe.Expr))


def parsed(described: griffe.Object) -> list[griffe.DocstringSection]:
    """The docstring in its sections."""
    docstring = required(described.docstring, described)
    return griffe.parse_google(
        docstring, returns_multiple_items=False, returns_named_value=False, warnings=False
    )


def attributes(described: griffe.Class) -> dict[str, str]:
    """What docstrings say about attributes, those of bases too."""
    return {
        each.name: each.description
        for one in (*reversed(described.mro()), described)
        if one.docstring is not None
        for section in parsed(one)
        if isinstance(section, griffe.DocstringSectionAttributes)
        for each in section.value
    }


def language_of(block: str) -> str:
    """What a block of a docstring is written in; nothing for prose."""
    if block.startswith("    "):
        return "python"
    return "text" if "├──" in block else ""


def fenced(block: str, language: str = "python") -> str:
    """Code in Markdown."""
    return f"```{language}\n{block}\n```"


def required(given: T | None, described: griffe.Object) -> T:
    """What is given, which the page cannot do without."""
    if not given:
        raise Undocumented(f"{described.path} ({described.filepath}:{described.lineno})")
    return given


def signature(described: griffe.Function, name: str) -> str:
    """How something is called, in one line or, if that is long, in one for each argument."""
    arguments: list[str] = []
    for parameter in described.parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and "*" not in arguments:
            arguments.append("*")
        default = "" if parameter.default is None else f" = {default_of(parameter, described)}"
        arguments.append(f"{parameter.name}: {written(parameter.annotation)}{default}")
    # What a class makes goes without saying, and who awaits gets it in another way.
    result = f" -> {written(described.returns)}" if name == described.name else ""
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= SIGNATURE_COLUMNS:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in arguments), f"){result}"])


def default_of(parameter: griffe.Parameter, described: griffe.Function) -> str:
    """The default of an argument; of a constant, which no user sees, its value."""
    if isinstance(parameter.default, griffe.ExprName):
        constant = resolved(described.modules_collection[parameter.default.canonical_path])
        if isinstance(constant, griffe.Attribute):
            return written(constant.value)
    return written(parameter.default)


def written(expression: griffe.Expr | str | None) -> str:
    """An expression in the quotes that this project writes; empty where there is none."""
    return "" if expression is None else str(expression).replace("'", '"')


def annotated(described: griffe.Attribute) -> str:
    """The type of an attribute."""
    return required(written(described.annotation), described)


def require_known(described: griffe.Object, said: Iterable[str], known: Iterable[str]) -> None:
    """Raises where a docstring describes what there is not."""
    if unknown := set(said) - set(known):
        raise Undocumented(f"{described.path} has no {', '.join(sorted(unknown))}")


def require_same(twin: griffe.Object, original: griffe.Object) -> None:
    """Raises where what is for who awaits differs in more than that."""
    if calls(twin) != calls(original):
        raise Undocumented(f"{twin.path} is not as {original.path}: {calls(twin)}")


def calls(described: griffe.Object) -> dict[str, str]:
    """How a function, or each member of a class, is called."""
    if isinstance(described, griffe.Class):
        return {member.name: calls(member).get("", "") for member in public(described)}
    return {"": signature(described, "")} if isinstance(described, griffe.Function) else {}
