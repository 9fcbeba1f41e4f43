"""How a setting is declared: its type, range, choices and meaning, once, beside what it configures.

A component has its settings in a dataclass whose fields are made by `setting`; their values are in
`conf/` and nowhere else. Where one of several components is chosen by name, such as an optimizer, a
`Family` lists them by the names of their classes, which are imported when they are used. What is
declared here is what validation, `--help` and error messages read; `lmladder.config` composes it.
"""

import difflib
import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from lmladder.system.errors import InputError

MAX_INTEGER = 2**63 - 1  # beyond it NumPy has no integer
REQUIRED: Any = "???"  # how OmegaConf writes a value that is not given


def setting(
    help: str,
    *,
    default: Any = REQUIRED,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Iterable[str] = (),
    length: int | None = None,
    family: "Family[Any] | None" = None,
    settings: type[Any] | None = None,
) -> Any:
    """A field of a settings dataclass.

    Parameters
    ----------
    help : what the setting means, with its unit, in one line
    default : only where `conf/` has no value; by default the setting must be given
    above, at_least, at_most, below : bounds of a number, or of each number in a list
    choices : the values of a text, or of each text in a list
    length : of a list
    family : the components of which this one is chosen by name; the type of the field is Any
    settings : the dataclass of a group of settings
    """
    limits = {"above": above, "at_least": at_least, "at_most": at_most, "below": below}
    metadata = {
        "help": help,
        "limits": {name: value for name, value in limits.items() if value is not None},
        "choices": tuple(choices),
        "length": length,
        "family": family,
    }
    if settings is not None:
        return field(default_factory=settings, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "above": ("more than", lambda value, limit: value > limit),
    "at_least": ("at least", lambda value, limit: value >= limit),
    "at_most": ("at most", lambda value, limit: value <= limit),
    "below": ("less than", lambda value, limit: value < limit),
}


def check(settings: Any, path: str = "") -> None:
    """Raise InputError, naming the key, for a value out of range or values that do not fit.

    What involves several settings is checked by the method `check(path)` of each dataclass that has
    one, its bases included; `path` stands before its keys, such as "transformer.".
    """
    for each in fields(settings):
        name, value = f"{path}{each.name}", getattr(settings, each.name)
        if is_dataclass(value):
            check(value, f"{name}.")
        elif isinstance(value, dict):
            for key, group in value.items():
                check(group, f"{name}.{key}.")
        elif value is not None:
            _check_value(name, value, each)
    for base in type(settings).__mro__:
        if "check" in vars(base):
            vars(base)["check"](settings, path)


def _check_value(name: str, value: Any, declared: Field[Any]) -> None:
    several = isinstance(value, list | tuple)
    length = declared.metadata.get("length")
    if length is not None and (not several or len(value) != length):
        raise InputError(f"{name} must be a list of {length} values, got {value}")
    choices = declared.metadata.get("choices", ())
    for one in value if several else [value]:
        if choices and one not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}, got {one}")
        if isinstance(one, list | tuple | dict):
            raise InputError(f"{name} must be a list of single values, got {value}")
        if isinstance(one, bool) or not isinstance(one, int | float):
            continue
        if isinstance(one, int) and abs(one) > MAX_INTEGER:
            raise InputError(f"{name} must be at most {MAX_INTEGER}, got {one}")
        if not math.isfinite(one):
            raise InputError(f"{name} must be a finite number, got {one}")
        for limit, bound in declared.metadata.get("limits", {}).items():
            words, holds = _LIMITS[limit]
            if not holds(one, bound):
                raise InputError(f"{name} must be {words} {bound:,}, got {one}")


_TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}


def meaning(declared: Field[Any], kind: Any, choices: Iterable[str] = ()) -> str:
    """Return the type, range and meaning of a setting: "integer, at least 1: number of blocks".

    Parameters
    ----------
    kind : the type of the field
    choices : the values of the setting, where the field itself does not list them
    """
    facts = declared.metadata
    names = ", ".join(facts["choices"] or choices)
    parts = [f"one of {names}" if names else _type_name(kind)]
    parts += [f"{_LIMITS[limit][0]} {bound:,}" for limit, bound in facts["limits"].items()]
    if facts["length"] is not None:
        parts.append(f"{facts['length']} values")
    return f"{', '.join(parts)}: {facts['help']}"


def _type_name(kind: Any) -> str:
    if get_origin(kind) in (list, tuple):
        return f"list of {_type_name(get_args(kind)[0])}s"
    return " or ".join(_TYPES.get(each, "null") for each in get_args(kind) or (kind,))


@dataclass(frozen=True)
class Component:
    """Where the parts of a component are, each as "module:name".

    Attributes
    ----------
    settings : the dataclass of its settings
    component : its class or function; None where its settings are all there is
    """

    settings: str
    component: str | None = None


C = TypeVar("C", bound=Component)
S = TypeVar("S")


class Family(Generic[C]):
    """Components of which a configuration chooses one by name, such as the optimizers.

    Parameters
    ----------
    name : what one of them is called in messages, such as "optimizer"
    package : where a component that is not listed may be: "my_kind" is the class MyKind in the
        module my_kind there, with its settings in MyKindSettings
    kinds : the listed ones, by name
    key : the setting that names the component
    """

    def __init__(self, name: str, package: str, kinds: Mapping[str, C], *, key: str = "name"):
        self.name, self.package, self.kinds, self.key = name, package, dict(kinds), key
        self._entry = type(next(iter(kinds.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    def __getitem__(self, kind: str) -> C:
        """The entry of a component; InputError, naming those that there are, if there is none."""
        if isinstance(kind, str) and kind in self.kinds:  # a file may hold a list there
            return self.kinds[kind]
        module = f"{self.package}.{kind}"
        if not str(kind).isidentifier() or importlib.util.find_spec(module) is None:
            raise InputError(f"unknown {self.name} {kind!r}; {did_you_mean(str(kind), self.kinds)}")
        name = "".join(word.capitalize() for word in kind.split("_"))
        return self._entry(f"{module}:{name}Settings", f"{module}:{name}")

    def read(self, given: Any, path: str) -> Any:
        """The settings of the component that `given` names under the family's key; as `read`."""
        kind = given.get(self.key, REQUIRED) if isinstance(given, Mapping) else REQUIRED
        if kind == REQUIRED:
            raise InputError(f"{path}.{self.key} has no value; give {path}.{self.key}=...")
        try:
            schema = self.settings(kind)
        except InputError as error:
            raise InputError(f"{path}.{self.key}: {error}") from None
        return _typed(schema, given, f"{path}.")

    def settings(self, kind: str) -> type[Any]:
        """The dataclass of a component's settings; InputError if there is no such component."""
        try:
            return imported(self[kind].settings)
        except AttributeError as error:  # such as a module that holds no component
            raise InputError(f"unknown {self.name} {kind!r}: {error}") from None

    def component(self, kind: str) -> Any:
        """The class or function of a component; InputError if there is no such component."""
        return imported(self[kind].component or "")


def read(schema: type[S], given: Mapping[str, Any], path: str = "") -> S:
    """Settings from plain values of unknown origin, with their types, within their ranges.

    Parameters
    ----------
    schema : a dataclass of settings
    given : such as a part of params.yaml; whole numbers do for fractions, and lists for tuples
    path : what stands before the keys in messages, such as "transformer."

    Raises
    ------
    InputError
        If a key is unknown, or a value is missing, of another type or out of range; names the key.
    """
    settings = _typed(schema, given, path)
    check(settings, path)
    return settings


def _typed(schema: type[S], given: Any, path: str) -> S:
    if not isinstance(given, Mapping):
        raise InputError(f"{path.removesuffix('.') or 'it'} must be a group of settings")
    declared = {each.name: each for each in fields(schema)}  # type: ignore[arg-type]
    for key in given:
        if key not in declared:
            raise InputError(f"unknown setting {path}{key}; {did_you_mean(str(key), declared)}")
    types = get_type_hints(schema)
    return schema(
        **{
            name: _value(types[name], each, given.get(name, REQUIRED), f"{path}{name}")
            for name, each in declared.items()
        }
    )


def _value(kind: Any, declared: Field[Any], value: Any, path: str) -> Any:
    """A value as a field of this type holds it; its default where it is not given."""
    family: Family[Any] | None = declared.metadata.get("family")
    if isinstance(value, str) and value == REQUIRED:
        value = default_of(declared)
        if isinstance(value, str) and value == REQUIRED:
            raise InputError(f"{path} has no value; give {path}=...")
    if family is not None and get_origin(kind) is dict:
        return {name: family.read(each, f"{path}.{name}") for name, each in value.items()}
    if family is not None:
        return family.read(value, path)
    if is_dataclass(kind):
        group: Any = kind
        return value if isinstance(value, group) else _typed(group, value, f"{path}.")
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        holder = OmegaConf.structured(make_dataclass("Holder", [("value", kind, REQUIRED)]))
        holder.value = value
        return OmegaConf.to_container(holder)["value"]  # type: ignore[index, call-overload]
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}") from None


def from_mapping(schema: type[S], given: Mapping[str, Any]) -> S:
    """An instance of a plain dataclass, from values of unknown origin; InputError as `read`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(given)))
        made: S = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{schema.__name__}: {str(error).splitlines()[0]}") from None
    return made


def imported(name: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that is most like another one, if any is; else all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"


def default_of(declared: Field[Any]) -> Any:
    """The default of a field; REQUIRED where it has none."""
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return REQUIRED if declared.default is MISSING else declared.default


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys: {"data": {"seed": 0}} as {"data.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
