"""The settings: where they come from, what is refused, and that their documents cannot drift."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tertulia import config
from tertulia.config import BadSettings, Settings, load

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "tertulia.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'port = 1\nhost = "a"\nbrand = "Casa"\n')
    environment = {"TERTULIA_PORT": "2", "TERTULIA_HOST": "b"}
    found = load(file=file, environment=environment, overrides={"port": 3, "host": None})
    assert (found.port, found.host, found.brand) == (3, "b", "Casa")
    assert load() == Settings()


def test_every_setting_can_be_given_as_a_variable() -> None:
    texts = {"bool": "off", "tuple": " a , b,", "int": "70000", "float": "7.5", "str": "x"}
    for one in config.describe():
        value = getattr(Settings(), one.name)
        text = texts[type(value).__name__]
        if one.name in ("port", "smtp_port", "refresh_days", "access_token_s"):
            text = "300"
        elif " or " in one.kind and one.kind != "true or false":
            text = one.kind.split(" or ")[-1].strip('"')
        environment = {one.variable: text}
        if one.name.startswith("tls_"):
            environment |= {"TERTULIA_TLS_CERTIFICATE": "x", "TERTULIA_TLS_KEY": "x"}
        elif one.name in ("mail", "sms"):
            environment |= {
                f"TERTULIA_{name}": "x" for name in ("SMTP_HOST", "MAIL_FROM", "SMS_URL", "SMS_ACCOUNT")
            }
        found = getattr(load(environment=environment), one.name)
        assert type(found) is type(value)
        assert found != value, one.name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = 70000", "port: expected `int` <= 65535"),
        ('port = "8420"', "port: expected `int`, got `str`"),
        ("prot = 1", "there is no setting 'prot'; did you mean 'port'?"),
        ("xyz = 1", "there is no setting 'xyz'"),
        ("port = ", "not TOML"),
        ('brand = ""', "brand: expected `str` of length >= 1"),
        ('cors_origins = ["a", 1]', "cors_origins[1]: expected `str`, got `int`"),
        ('log_format = "xml"', "log_format: invalid enum value 'xml'"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(BadSettings) as caught:
        load(file=file)
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file"):
        load(file=tmp_path / "none.toml")
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="not TOML"):
        load(file=tmp_path / "raw.toml")


@pytest.mark.parametrize(
    ("name", "text"),
    [("PORT", "many"), ("PORT", "-1"), ("RATE_LIMITS", "perhaps"), ("HEARTBEAT_S", "0"), ("MAIL", "pigeon")],
)
def test_a_bad_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(BadSettings, match=f"TERTULIA_{name}"):
        load(environment={f"TERTULIA_{name}": text})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tls_key": "k.pem"}, "go together"),
        ({"mail": "smtp"}, "smtp_host and mail_from"),
        ({"sms": "twilio", "sms_from": "+1"}, "sms_account and sms_secret"),
        ({"sms": "webhook"}, "sms_url and sms_secret"),
        ({"sms": "smpp", "sms_url": "host:port", "sms_account": "a"}, "host:port"),
    ],
)
def test_settings_that_do_not_go_together(values: dict[str, object], says: str) -> None:
    with pytest.raises(BadSettings, match=says):
        load(overrides=values)


def test_a_secret_is_in_no_message_and_no_description(tmp_path: Path) -> None:
    word = "hunter2hunter2"
    file = write(tmp_path, f'smtp_password = "{word}"\nsms_secret = ["{word}"]\n')
    with pytest.raises(BadSettings) as caught:
        load(file=file)
    assert word not in str(caught.value)
    shown = config.describe(load(overrides={"smtp_password": word, "sms_secret": word}))
    assert word not in repr(shown)
    assert [one.name for one in shown if one.value == "***"] == ["smtp_password", "sms_secret"]
    assert [one.value for one in config.describe() if one.secret] == ['""', '""']


def test_misspelt_variables_are_found() -> None:
    environment = {"TERTULIA_PRT": "1", "TERTULIA_PORT": "1", "TERTULIA_SETTINGS": "f", "HOME": "/"}
    assert config.unknown_variables(environment) == ["TERTULIA_PRT"]


def test_every_setting_says_what_it_is() -> None:
    shown = config.describe()
    assert [one.name for one in shown] == list(Settings.__struct_fields__)
    assert [one.name for one in shown if not one.description.endswith(".")] == []
    assert next(one for one in shown if one.name == "port").bounds == "at least 0, at most 65535"


def test_the_sample_is_the_defaults_and_reads_back(tmp_path: Path) -> None:
    text = config.sample()
    assert tomllib.loads(text) == {}
    wakened = "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )
    assert set(tomllib.loads(wakened)) == set(Settings.__struct_fields__)
    assert load(file=write(tmp_path, wakened)) == Settings()


def test_the_document_is_the_one_that_the_command_prints() -> None:
    assert (ROOT / "docs/settings.md").read_text("utf-8") == config.markdown(), (
        "run: tertulia settings --markdown > docs/settings.md"
    )


def test_every_heading_stands_before_a_setting() -> None:
    assert config.sample().count("# --- ") == config.markdown().count("\n## ") == 7
