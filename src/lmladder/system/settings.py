"""Declaration of settings: type, range, choices and meaning, beside the code that they configure.

The settings of a component are a dataclass whose fields are made by `setting`; their values are in
`conf/` only. Where one of several components is chosen by name, such as an optimizer, a `Family`
lists them by the names of their classes, which are imported on use. Validation, `--help` and error
messages read these declarations; `lmladder.config` composes them.
"""

import difflib
import importlib.util
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from lmladder.system.errors import InputError

MAX_INTEGER = 2**63 - 1  # the largest integer of NumPy
REQUIRED: Any = "???"  # a missing value, as OmegaConf writes it
GROUP = "group"  # the type of a group of settings in a description


_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "above": ("more than", operator.gt),
    "at_least": ("at least", operator.ge),
    "at_most": ("at most", operator.le),
    "below": ("less than", operator.lt),
}


def setting(
    help: str,
    *,
    default: Any = REQUIRED,
    choices: Iterable[str] = (),
    length: int | None = None,
    family: "Family[Any] | None" = None,
    settings: type[Any] | None = None,
    **limits: float,
) -> Any:
    """Return a field of a settings dataclass.

    Parameters
    ----------
    help : the meaning of the setting, with its unit, in one line
    default : the value if `conf/` contains none; by default the setting must be given
    choices : the allowed values of a string, or of each string in a list
    length : the length of a list
    family : the components of which this setting chooses one; the type of the field is Any
    settings : the dataclass of a group of settings
    **limits : bounds of a number, or of each number in a list: above, at_least, at_most, below
    """
    assert limits.keys() <= _LIMITS.keys(), limits
    metadata = {
        "help": help,
        "limits": limits,
        "choices": tuple(choices),
        "length": length,
        "family": family,
    }
    factory = default.copy if isinstance(default, list | dict) else settings
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def check(settings: Any, path: str = "") -> None:
    """Raise InputError, which names the key, for a value out of range or an invalid combination.

    Combinations of settings are checked by the method `check(path)` of a dataclass and of its
    bases; `path` is the prefix of the keys in messages, such as "transformer.".
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
            words, is_within = _LIMITS[limit]
            if not is_within(one, bound):
                raise InputError(f"{name} must be {words} {bound:,}, got {one}")


_TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Described:
    """What a user needs to know of a setting.

    Attributes
    ----------
    key : dotted, such as "transformer.n_layer"
    default : its value in `conf/`; REQUIRED if it has none
    type : such as "integer or null"; "group" of settings
    range : such as "at least 1"; empty: any value of the type
    choices : the allowed values of a text; empty: any
    help : its meaning
    choice : the override of a group with which the setting exists; empty: it exists by default
    """

    key: str
    default: Any
    type: str
    range: str
    choices: tuple[str, ...]
    help: str
    choice: str = ""

    @classmethod
    def of(
        cls, key: str, declared: Field[Any], kind: Any, default: Any, choices: Iterable[str] = ()
    ) -> "Described":
        """Describe a field of a type; `choices` are used if the field itself has none."""
        facts = declared.metadata
        limits = [f"{_LIMITS[limit][0]} {bound:,}" for limit, bound in facts["limits"].items()]
        if facts["length"] is not None:
            limits.append(f"{facts['length']} values")
        names = facts["choices"] or tuple(choices)
        return cls(key, default, _type_name(kind), ", ".join(limits), names, facts["help"])

    @property
    def allowed(self) -> str:
        """The choices or the type, and the range, such as "integer, at least 1"."""
        names = f"one of {', '.join(self.choices)}" if self.choices else self.type
        return f"{names}, {self.range}".removesuffix(", ")

    @property
    def value(self) -> str:
        """The default as an override has it, such as "[0.9, 0.99]"."""
        plain = isinstance(self.default, str) and self.default.isprintable()
        return self.default if plain else json.dumps(self.default)

    def __str__(self) -> str:
        """Return the heading of a group, or a setting in two lines."""
        if self.type == GROUP:
            return f"{self.key}: {self.help}"
        choice = f"  ({self.choice})" if self.choice else ""
        return f"  {self.key}={self.value}{choice}\n      {self.allowed}: {self.help}"


def _type_name(kind: Any) -> str:
    if get_origin(kind) in (list, tuple):
        return f"list of {_type_name(get_args(kind)[0])}s"
    return " or ".join(_TYPES.get(each, "null") for each in get_args(kind) or (kind,))


@dataclass(frozen=True)
class Component:
    """The location of a component, as "module:name".

    Attributes
    ----------
    settings : the dataclass of its settings
    component : its class or function; None if it consists of its settings only
    """

    settings: str
    component: str | None = None


C = TypeVar("C", bound=Component)
S = TypeVar("S")


class Family(Generic[C]):
    """Components of which a configuration chooses one by name, such as the optimizers.

    Parameters
    ----------
    name : the name of a component in messages, such as "optimizer"
    package : the package of components that are not listed: "my_kind" is the class MyKind in its
        module my_kind, with the settings MyKindSettings
    kinds : the listed components, by name
    key : the setting that contains the name of the component
    """

    def __init__(self, name: str, package: str, kinds: Mapping[str, C], *, key: str = "name"):
        self.name, self.package, self.kinds, self.key = name, package, dict(kinds), key
        self._entry = type(next(iter(kinds.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    def __getitem__(self, kind: str) -> C:
        """Return the entry of a component; raise InputError, with the known names, if unknown."""
        if isinstance(kind, str) and kind in self.kinds:  # a file may contain a list instead
            return self.kinds[kind]
        module = f"{self.package}.{kind}"
        if not str(kind).isidentifier() or importlib.util.find_spec(module) is None:
            raise InputError(f"unknown {self.name} {kind!r}; {did_you_mean(str(kind), self.kinds)}")
        name = "".join(word.capitalize() for word in kind.split("_"))
        return self._entry(f"{module}:{name}Settings", f"{module}:{name}")

    def read(self, given: Any, path: str) -> Any:
        """Return the settings of the component that `given[key]` names; see `read`."""
        if isinstance(given, str) and given in self.kinds:
            raise InputError(f"{path} is a group of settings; choose {self.name}@{path}={given}")
        kind = given.get(self.key, REQUIRED) if isinstance(given, Mapping) else REQUIRED
        if kind == REQUIRED:
            raise _missing(f"{path}.{self.key}")
        try:
            schema = self.settings(kind)
        except InputError as error:
            raise InputError(f"{path}.{self.key}: {error}") from None
        return _typed(schema, given, f"{path}.")

    def settings(self, kind: str) -> type[Any]:
        """Return the dataclass of a component's settings; raise InputError if it is unknown."""
        try:
            return import_object(self[kind].settings)
        except AttributeError as error:  # a module without a component
            raise InputError(f"unknown {self.name} {kind!r}: {error}") from None

    def component(self, kind: str) -> Any:
        """Return the class or function of a component; raise InputError if it is unknown."""
        return import_object(self[kind].component or "")


def read(schema: type[S], given: Mapping[str, Any], path: str = "") -> S:
    """Return the settings made from plain values, with their types and ranges checked.

    Parameters
    ----------
    schema : a dataclass of settings
    given : plain values, such as a part of params.yaml; an integer is accepted for a float
    path : the prefix of the keys in messages, such as "transformer."

    Raises
    ------
    InputError
        If a key is unknown, or a value is missing, of another type or out of range. The message
        names the key.
    """
    settings = _typed(schema, given, path)
    check(settings, path)
    return settings


def _typed(schema: type[S], given: Any, path: str) -> S:
    _require_group(given, path.removesuffix("."))
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
    """Return a value converted to the type of its field; the default if it is missing."""
    family: Family[Any] | None = declared.metadata.get("family")
    if value == REQUIRED and (value := default_of(declared)) == REQUIRED:
        raise _missing(path)
    if family is not None and get_origin(kind) is dict:
        _require_group(value, path)
        return {name: family.read(each, f"{path}.{name}") for name, each in value.items()}
    if family is not None:
        return family.read(value, path)
    if is_dataclass(kind):
        group: Any = kind
        return value if isinstance(value, group) else _typed(group, value, f"{path}.")
    if type(value) is kind and kind in (bool, int, float, str):
        return value  # without loading OmegaConf, which takes a tenth of a second
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        holder = OmegaConf.structured(make_dataclass("Holder", [("value", kind, REQUIRED)]))
        holder.value = value
        return OmegaConf.to_container(holder)["value"]  # type: ignore[index, call-overload]
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None


def _require_group(value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{path or 'it'} must be a group of settings, got {value}")


def _missing(path: str) -> InputError:
    return InputError(f"{path} is missing; give {path}=...")


def from_mapping(schema: type[S], given: Mapping[str, Any]) -> S:
    """Return an instance of a plain dataclass made from plain values; see `read`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(given)))
        made: S = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{schema.__name__}: {str(error).splitlines()[0]}") from None
    return made


def import_object(name: str) -> Any:
    """Import and return the object with the name "module:attribute"."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown word: the most similar known one, or all of them."""
    known = list(known)
    similar = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"choose from {', '.join(known)}"


def default_of(declared: Field[Any]) -> Any:
    """Return the default of a field; REQUIRED if it has none."""
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return REQUIRED if declared.default is MISSING else declared.default


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys: {"data": {"seed": 0}} becomes {"data.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
