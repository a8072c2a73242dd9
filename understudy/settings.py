"""The settings of a node: one name for each, in the file, in the environment and on the command line.

    understudy.toml   listen = "tcp://10.0.0.7:4100"        the file is --config, else UNDERSTUDY_CONFIG, else this, if there
         <  UNDERSTUDY_LISTEN=tcp://10.0.0.7:4100           the environment is stronger than the file,
         <  --listen tcp://10.0.0.7:4100                    and flags are stronger than both

    load(flags) ──> Effective(settings, origins)            or Mistakes: a line for each, where it stands and what to do

Secrets (`table`, which may have a password in it, and `token`) are kept as such: neither they nor what was mistaken for them
is ever shown.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from understudy.transport import BadAddress, parse_address

PREFIX = "UNDERSTUDY_"

FILE = Path("understudy.toml")
"""Read where it is there, and no other file is named."""

NAME_LIMIT = 200
"""Characters of a node's name."""

SIMILAR = 0.75
"""From here on a name that nobody knows is taken for a slip of the pen: of 1.0, which is the same."""


class Mistakes(Exception):
    """What is wrong with the settings, a line each. No line has a secret in it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _words(value: Any) -> Any:
    """A list, or a text with commas in it, as the environment has it."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _refused(text: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{text}", {"text": text})


def _named(name: str) -> str:
    if not 0 < len(name) <= NAME_LIMIT or "@" in name:
        raise _refused("no name")
    return name


def _address(value: str) -> str:
    try:
        parse_address(value)
    except BadAddress as error:
        raise _refused(str(error)) from None
    return value


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and int(port) < 2**16):
        raise _refused("no HOST:PORT")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


def _setting(default: Any, wanted: str, example: str, **more: Any) -> Any:
    """`wanted` completes "it must be ..."; `example` is how it looks in the file."""
    return Field(default, json_schema_extra={"wanted": wanted, "example": example}, **more)


class Settings(BaseSettings):
    """What `understudy node` can be told. `Settings(config=path, **flags)` reads them from everywhere; so does `load`, which knows
    besides where each was set, and says what is wrong with them in plain words."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    name: Annotated[str, AfterValidator(_named)] | None = _setting(
        None, "a text of 1 to 200 characters without '@'", '"stage-1"'
    )
    """The node's name: unique in the cluster, and the same again when it is started again."""
    application: str | None = _setting(None, "MODULE:ATTRIBUTE", '"shop:main"')
    """What runs on the node; without it, it is a member and no more."""

    listen: Annotated[str, AfterValidator(_address)] = _setting(
        "tcp://127.0.0.1:0", "an address like tcp://192.168.1.7:4100", '"tcp://192.168.1.7:4100"'
    )
    """Where other nodes reach this one; port 0 is any free one. Beyond loopback only with `keys`."""
    table: SecretStr | None = _setting(
        None, "the URL of a table", '"postgresql://understudy@db.example.org/understudy"'
    )
    """The membership table: postgresql://... or etcd://... Secret, since a password may stand in it."""
    table_file: Path | None = _setting(None, "the path of a file", '"/run/secrets/table"')
    """A file with the URL of the table, for secrets that are mounted."""
    join: Annotated[str, AfterValidator(_address)] | None = _setting(
        None, "an address like tcp://192.168.1.7:4100", '"tcp://192.168.1.7:4100"'
    )
    """A node whose table this one uses, where there is no other table."""
    state: Path | None = _setting(None, "the path of a folder", '"/var/lib/understudy"')
    """The folder of the membership table that the nodes of one machine share; used where neither `table` nor `join` is set.  [default: .understudy]"""
    keys: Path | None = _setting(None, "the path of a folder", '"/etc/understudy/keys"')
    """The folder of its key and of those that it trusts; made if it is not there. Without it: loopback only."""
    token: SecretStr | None = _setting(None, "a join token", '"..."')
    """What lets this node in where it joins, once; ignored where it does not join. Secret."""
    token_file: Path | None = _setting(None, "the path of a file", '"/run/secrets/token"')
    """A file with the token."""

    roles: Words = _setting((), "a list of texts", '["engine"]')
    """What the node is for; actors are placed by it."""
    tags: Words = _setting((), "a list of texts", '["gpu"]')
    """What it has besides; actors are placed by that, too."""
    capacity: int = _setting(0, "a whole number from 0 up", "100", ge=0)
    """How many placed actors it takes; 0: no limit."""

    probe_interval: float = _setting(1.0, "a number of seconds above 0", "1.0", gt=0, allow_inf_nan=False)
    """Seconds between two probes of each other node. The same on all nodes."""
    probe_misses: int = _setting(3, "a whole number from 1 up", "3", ge=1)
    """How many missed in a row make a suspect."""
    blocked_after: float = _setting(10.0, "a number of seconds above 0", "10.0", gt=0, allow_inf_nan=False)
    """Seconds that a node is given whose connection stands, though it does not answer."""
    sweep_after: float = _setting(60.0, "a number of seconds above 0", "60.0", gt=0, allow_inf_nan=False)
    """Seconds after which the names of a node that is gone are deleted from the table, if nobody has taken them."""

    gateway_host: str = _setting("127.0.0.1", "a host name or an address", '"127.0.0.1"', min_length=1)
    """Where a gateway of the application listens."""
    gateway_port: int = _setting(4000, "a port from 0 to 65535", "4000", ge=0, lt=2**16)
    """Its port; 0 is any free one."""
    gateway_names: Words = _setting((), "a list of host names", '["play.example.org"]')
    """Further host names under which it is asked, behind a proxy."""
    gateway_origins: Words = _setting((), "a list of origins", '["https://chat.example.org"]')
    """Foreign pages that may connect to it."""
    health: Annotated[str, AfterValidator(_host_and_port)] = _setting(
        "127.0.0.1:0", "HOST:PORT, or empty for none", '"0.0.0.0:4001"'
    )
    """Where /healthz and /readyz are answered; port 0 is any free one, empty is nowhere."""

    log_format: Literal["auto", "console", "json"] = _setting("auto", "auto, console or json", '"json"')
    """console: lines for people; json: an object a line; auto: console on a terminal, else json."""
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "debug, info, warning or error", '"info"'
    )
    """What to show of the log."""
    drain_timeout: float = _setting(15.0, "a number of seconds from 0 up", "15.0", ge=0, allow_inf_nan=False)
    """Seconds that the node has, once it is told to end, to hand over what it has."""
    shutdown_timeout: float = _setting(10.0, "a number of seconds from 0 up", "10.0", ge=0, allow_inf_nan=False)
    """Seconds that the application has after that to end; what is left is killed."""

    app: Annotated[dict[str, Any], NoDecode] = _setting({}, "a table of the file", '{ greeting = "hello" }')
    """The application's own: whatever it likes. Only in the file."""

    config: Path | None = Field(None, exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first is the strongest."""
        assert isinstance(init_settings, InitSettingsSource), "what it was called with"
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, init_settings.init_kwargs.get("config")),
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ways = [each for each in ("table", "table_file", "join") if getattr(self, each) is not None]
        if len(ways) > 1:
            raise _refused(f"{' and '.join(ways)} are set, and a node has one table: leave one of them out")
        if self.token is not None and self.token_file is not None:
            raise _refused("token and token_file are set: leave one of them out")
        return self

    # --- what follows from them ---

    def secrets(self) -> list[str]:
        """What must not be shown, as it stands in the settings; read from its files, too."""
        return [each for each in (self.table_url(), self.join_token()) if each]

    def table_url(self) -> str | None:
        """The URL of the table, wherever it stands. Mistakes if its file cannot be read."""
        return _told("table_file", self.table, self.table_file)

    def join_token(self) -> str | None:
        """The token, wherever it stands. Mistakes if its file cannot be read."""
        return _told("token_file", self.token, self.token_file)

    def state_folder(self) -> Path | None:
        """The folder of the table; None: it has another one."""
        if self.table is not None or self.table_file is not None or self.join is not None:
            return None
        return self.state if self.state is not None else Path(".understudy")


def _told(name: str, secret: SecretStr | None, file: Path | None) -> str | None:
    """A secret, or what stands in the file that the setting `name` names: read each time, since mounted secrets change."""
    if secret is not None or file is None:
        return secret.get_secret_value() if secret is not None else None
    try:
        found = file.read_text().strip()
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "no text"
        raise Mistakes([f"{name}: the file {file} cannot be read: {why}"]) from None
    if not found:
        raise Mistakes([f"{name}: the file {file} is empty"])
    return found


@dataclass(frozen=True)
class Effective:
    """The settings that count, and where each was set, if it was: "understudy.toml:3", "UNDERSTUDY_LISTEN", "--listen"."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None
    doubts: tuple[str, ...] = ()
    """What is no mistake, and may be meant otherwise."""

    def shown(self, name: str) -> str:
        """A value as a person may see it."""
        value = getattr(self.settings, name)
        if isinstance(value, SecretStr):
            return _without_password(value.get_secret_value()) if name == "table" else "(secret)"
        return _toml(value)


def load(flags: Mapping[str, Any] | None = None) -> Effective:
    """Read file and environment, and put `flags` (by the settings' names, those that are given) over both. Raises Mistakes."""
    flags = {name: value for name, value in (flags or {}).items() if value is not None and value != ()}
    path = _file(flags.pop("config", None))
    table = _read(path) if path is not None else {}
    variables = {name: value for name, value in EnvSettingsSource(Settings)().items() if name != "config"}
    origins = {
        **{name: f"{path}:{_line(path, name)}" for name in table if path is not None},
        **{name: PREFIX + name.upper() for name in variables},
        **{name: flag(name) for name in flags},
    }
    try:
        settings = Settings(config=path, **flags)
    except ValidationError as error:
        given = {**table, **variables, **flags}
        raise Mistakes([_sentence(each, given, origins) for each in error.errors(include_url=False)]) from None
    lines: list[str] = []
    for name, read in (("table_file", settings.table_url), ("token_file", settings.join_token)):
        try:
            read()
        except Mistakes as mistakes:
            lines += [f"{origins[name]}: {line}" for line in mistakes.lines]
    if lines:
        raise Mistakes(lines)
    return Effective(settings, origins, path, _doubts(flags))


def flag(name: str) -> str:
    """The flag of a setting; one that may be given several times has its singular."""
    if name in ("name", "application"):
        return name.upper()
    return "--" + {
        "roles": "role",
        "tags": "tag",
        "gateway_names": "gateway-name",
        "gateway_origins": "gateway-origin",
    }.get(name, name.replace("_", "-"))


def fields() -> dict[str, FieldInfo]:
    """The settings by name; without `config`, which is where they stand."""
    return {name: field for name, field in Settings.model_fields.items() if name != "config"}


def told(field: FieldInfo, what: str) -> str:
    """`wanted` or `example` of a setting."""
    extra = field.json_schema_extra
    return str(extra[what]) if isinstance(extra, dict) and what in extra else ""


# --- where they come from ---


def _file(named: Any) -> Path | None:
    named = named or os.environ.get(PREFIX + "CONFIG")
    return Path(named) if named else FILE if FILE.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise Mistakes([f"{path}: there is no such file; `understudy config --example` prints one to begin with"])
        return TomlConfigSettingsSource(Settings, path).toml_data
    except tomllib.TOMLDecodeError as error:
        raise Mistakes([f"{path}: this is no TOML: {error}"]) from None
    except UnicodeDecodeError:
        raise Mistakes([f"{path}: this is no TOML: it is not in UTF-8"]) from None
    except OSError as error:
        raise Mistakes([f"{path}: it cannot be read: {error.strerror}"]) from None


def _doubts(flags: Mapping[str, Any]) -> tuple[str, ...]:
    known = {PREFIX + name.upper() for name in (*fields(), "config")}
    lines: list[str] = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            close = difflib.get_close_matches(variable, known, 1, 0.9)
            if close:
                lines.append(f"{variable} is no setting, and is ignored; did you mean {close[0]}?")
    if isinstance(table := flags.get("table"), str) and _without_password(table) != table:
        lines.append(
            "--table has a password in it, which every user of this machine can see: use UNDERSTUDY_TABLE or --table-file"
        )
    if "token" in flags:
        lines.append("--token can be seen by every user of this machine: use UNDERSTUDY_TOKEN or --token-file")
    return tuple(lines)


def _line(path: Path, name: str) -> int:
    """Where a key of the file's top level stands."""
    pattern = re.compile(rf"""\s*\[?\s*["']?{re.escape(name)}["']?\s*[\]=.]""")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if pattern.match(line):
            return number
    return 1


# --- what is said of them ---


def _sentence(error: ErrorDetails, given: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    origin = origins.get(name, "")
    if not name:
        return error["msg"]
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, fields(), 1, SIMILAR)
        begins = [each for each in fields() if each.startswith(f"{name}_")]
        hint = f"did you mean {close[0]!r}?" if close else f"there is {_listed(begins)}" if begins else ""
        own = "what is your application's own stands in the table [app]"
        return f"{origin}: there is no setting {name!r}; {hint or own}"
    field = fields()[name]
    shown = "this" if isinstance(given.get(name), SecretStr) or name in ("table", "token") else _toml(given.get(name))
    why = f" ({error['msg']})" if error["type"] == "refused" else ""
    remedy = f"{name} must be {told(field, 'wanted')}"
    if origin.startswith(PREFIX) and re.match(r"tcp://[\d.]+:\d+$", str(given.get(name))) and name == "gateway_port":
        remedy += "; Kubernetes sets this for a Service of that name: set enableServiceLinks: false"
    return f"{origin}: {shown} cannot be meant{why}: {remedy}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(map(repr, names[:-1])), repr(names[-1])] if len(names) > 1 else map(repr, names))


def _without_password(url: str) -> str:
    """A URL with *** for its password, where it has one, and for all that might be one."""
    url = re.sub(r"(?<=://)([^/@:]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)(password|passwd|secret|token)=[^&\s]*", r"\1=***", url)


def _toml(value: Any) -> str:
    """A value as it looks in the file."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str() | Path():
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }" if value else "{}"
        case _:
            return str(value)
