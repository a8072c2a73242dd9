"""What a client shows, and who it is by that: tokens, cookies, passwords. No server, no clock but the one of the test."""

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.world import World
from understudy.gateway import Credentials, Passwords, Principal, SignedCookie, SignedToken, Unauthorized, hash_password
from understudy.gateway.auth import Anonymous, Auths, Door
from understudy.gateway.credentials import read_credentials
from understudy.gateway.principal import stranger

KEY, OTHER = "k" * 32, "o" * 32


class Calendar:
    """The time of day, when the test says so."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.world = World(wall=lambda: self.now)


def who(auths: Auths, credentials: Credentials, world: World | None = None) -> Principal:
    return asyncio.run(Door(auths).authenticate(credentials, world or World()))


def refused(auths: Auths, credentials: Credentials, world: World | None = None) -> str:
    with pytest.raises(Unauthorized) as caught:
        who(auths, credentials, world)
    return caught.value.code


def shown(token: str) -> Credentials:
    return Credentials(token=token)


# --- what a request shows ---


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_a_token_is_read_from_the_name_of_a_sub_protocol_as_phoenix_and_our_clients_write_it(
    encode: Any, padded: bool
) -> None:
    token = "eyJ0.eyJz>>>???~~.sig-_"
    text = encode(token.encode()).decode()
    header = f"phoenix, base64url.bearer.phx.{text if padded else text.rstrip('=')}"
    assert read_credentials({"Sec-WebSocket-Protocol": header}).token == token


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"X-Phoenix-AuthToken": "abc"}, "abc"),
        ({"Authorization": "Bearer "}, None),
        ({"Sec-WebSocket-Protocol": "phoenix"}, None),
        ({"Sec-WebSocket-Protocol": "phoenix, base64url.bearer.phx.!!!"}, None),
        ({"Sec-WebSocket-Protocol": "phoenix, base64url.bearer.phx." + b64encode(b"\xff").decode()}, None),
        ({}, None),
    ],
)
def test_a_token_is_read_from_headers_and_what_is_none_is_not_there(headers: dict[str, str], token: str | None) -> None:
    assert read_credentials(headers).token == token


def test_a_token_in_an_address_counts_only_where_that_is_allowed() -> None:
    assert read_credentials({}, {"token": "abc"}).token is None
    assert read_credentials({}, {"token": "abc"}, token_in_url=True).token == "abc"


@pytest.mark.parametrize(
    ("value", "basic"),
    [
        (b64encode(b"ada:pass:word").decode(), ("ada", "pass:word")),
        (b64encode("ada:gr\u00fc\u00df".encode()).decode(), ("ada", "gr\u00fc\u00df")),
        (b64encode(b"ada:").decode(), ("ada", "")),
        (b64encode(b"no colon").decode(), None),
        ("not base64 at all", None),
    ],
)
def test_a_name_and_a_password_are_read_as_http_basic_sends_them(value: str, basic: tuple[str, str] | None) -> None:
    assert read_credentials({"Authorization": f"Basic {value}"}).basic == basic


def test_strange_cookies_beside_it_do_not_hide_one() -> None:
    cookies = read_credentials({"Cookie": 'a b=1; json={"x": 1}; =; mine=yes; mine=no; q="quoted"'}).cookies
    assert (cookies["mine"], cookies["q"]) == ("yes", "quoted")


@given(st.dictionaries(st.sampled_from(["authorization", "cookie", "sec-websocket-protocol"]), st.text()))
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    read_credentials(headers)


def test_what_was_shown_is_not_in_the_text_of_it() -> None:
    shown_ = read_credentials({"Authorization": "Bearer secret", "Cookie": "a=secret"}, {"token": "secret"}, "::1")
    assert "secret" not in repr(shown_)


# --- tokens ---


def test_a_token_says_who_somebody_is_what_else_is_known_and_until_when() -> None:
    day = Calendar()
    tokens = SignedToken(KEY, world=day.world)
    token = tokens.issue("ada", lifetime=600, claims={"roles": ["editor"]})
    assert who(tokens, shown(token), day.world) == Principal("ada", {"roles": ["editor"]}, day.now + 600)
    day.now += 600
    assert refused(tokens, shown(token), day.world) == "token_expired"


def test_a_token_is_signed_with_the_newest_key_and_believed_under_any_that_is_there() -> None:
    old, both, new = SignedToken({"1": KEY}), SignedToken({"2": OTHER, "1": KEY}), SignedToken({"2": OTHER})
    early, late = old.issue("ada", lifetime=60), both.issue("ada", lifetime=60)
    assert jwt.get_unverified_header(late)["kid"] == "2"
    assert (who(both, shown(early)).id, who(both, shown(late)).id, who(new, shown(late)).id) == ("ada", "ada", "ada")
    assert refused(new, shown(early)) == "token_invalid"
    assert refused(old, shown(late)) == "token_invalid"


def test_a_token_without_the_name_of_its_key_is_tried_with_each() -> None:
    assert who(SignedToken({"2": OTHER, "1": KEY}), shown(SignedToken(KEY).issue("ada", lifetime=60))).id == "ada"


def _forged(claims: dict[str, Any], key: Any = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims, key, algorithm, headers=headers or None)


GOOD = {"sub": "ada", "exp": 1_790_000_600}


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(_forged(GOOD, OTHER), id="another key"),
        pytest.param(_forged(GOOD, None, "none"), id="no signature"),
        pytest.param(_forged(GOOD, "k" * 64, "HS512"), id="another algorithm"),
        pytest.param(_forged({"sub": "ada"}), id="no end"),
        pytest.param(_forged({"exp": GOOD["exp"]}), id="nobody"),
        pytest.param(_forged({**GOOD, "sub": ""}), id="an empty name"),
        pytest.param(_forged({**GOOD, "sub": "a" * 257}), id="a long name"),
        pytest.param(_forged({**GOOD, "exp": "soon"}), id="an end that is none"),
        pytest.param(_forged({**GOOD, "exp": True}), id="an end that is true"),
        pytest.param(_forged({**GOOD, "nbf": 1_790_000_001}), id="not yet"),
        pytest.param(_forged({**GOOD, "aud": "others"}), id="for others"),
        pytest.param(_forged({**GOOD, "iss": "a stranger"}), id="of a stranger"),
        pytest.param(_forged(GOOD, kid="unknown"), id="an unknown key's name"),
        pytest.param("a.b.c", id="rubbish"),
        pytest.param(_forged({**GOOD, "fill": "x" * 9000}), id="too long"),
    ],
)
def test_a_token_that_is_not_ours_lets_nobody_in(token: str) -> None:
    day = Calendar()
    tokens = SignedToken(KEY, issuer="us", audience="gateway", world=day.world)
    assert refused(tokens, shown(token), day.world) == "token_invalid"
    assert who(tokens, shown(tokens.issue("ada", lifetime=1)), day.world).id == "ada"  # but for what is wrong, it would


def test_no_byte_of_a_token_can_be_changed() -> None:
    tokens = SignedToken(KEY)
    token = tokens.issue("ada", lifetime=60)
    for place in range(len(token) - 1):  # the last character has bits that count for nothing
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert refused(tokens, shown(changed)) in ("token_invalid", "unauthorized")


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_key_that_is_too_short_is_no_key(algorithm: str, least: int) -> None:
    with pytest.raises(ValueError, match=rf"the key 'new' has {least - 1} bytes.*needs {least}"):
        SignedToken({"old": "k" * least, "new": b"k" * (least - 1)}, algorithm=algorithm)


def test_a_token_that_another_service_signed_is_believed_by_its_public_key() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tokens = SignedToken(public, algorithm="EdDSA")
    token = jwt.encode({"sub": "ada", "exp": 99_999_999_999}, private, "EdDSA")
    assert who(tokens, shown(token)).id == "ada"
    # The old trick: the public key, which everybody has, taken for a shared one. PyJWT signs nothing with a PEM.
    assert refused(tokens, shown(jwt.encode(GOOD, "k" * 32, "HS256"))) == "token_invalid"


@pytest.mark.parametrize("algorithm", ["none", "HS1", ""])
def test_an_algorithm_that_is_none_is_refused_at_once(algorithm: str) -> None:
    with pytest.raises(ValueError, match="no tokens can be verified"):
        SignedToken(KEY, algorithm=algorithm)


# --- cookies ---


def cookie_of(header: str) -> Credentials:
    name, _, value = header.partition(";")[0].partition("=")
    return Credentials(cookies={name: value})


def test_a_cookie_makes_a_browser_known_again_until_it_ends() -> None:
    day = Calendar()
    cookie = SignedCookie(KEY, lifetime=60, world=day.world)
    header = cookie.header(Principal("ada", {"name": "Ada L."}))
    assert header.startswith("__Host-session=")
    assert header.endswith("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")
    assert who(cookie, cookie_of(header), day.world) == Principal("ada", {"name": "Ada L."}, day.now + 60)
    day.now += 60
    assert refused(cookie, cookie_of(header), day.world) == "token_expired"


def test_a_cookie_of_another_key_or_name_or_with_another_byte_is_refused() -> None:
    cookie = SignedCookie(KEY)
    header = cookie.header(Principal("ada"))
    assert who(SignedCookie([OTHER, KEY]), cookie_of(header)).id == "ada"
    assert refused(SignedCookie(OTHER), cookie_of(header)) == "token_invalid"
    other = SignedCookie(KEY, name="__Host-other")
    assert refused(other, Credentials(cookies={other.name: cookie_of(header).cookies[cookie.name]})) == "token_invalid"
    value = cookie_of(header).cookies[cookie.name]
    for place in (0, 5, len(value) // 2, len(value) - 2):
        changed = value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        assert refused(cookie, Credentials(cookies={cookie.name: changed})) == "token_invalid"


def test_a_cookie_is_ended_by_an_empty_one() -> None:
    assert "Max-Age=0" in SignedCookie(KEY).forget()
    assert refused(SignedCookie(KEY), Credentials(cookies={"__Host-session": ""})) == "unauthorized"


def test_what_a_browser_would_drop_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SignedCookie([KEY, "short"])
    with pytest.raises(ValueError, match="choose a name without __Host-"):
        SignedCookie(KEY, secure=False)
    assert "Secure" not in SignedCookie(KEY, name="session", secure=False).header(Principal("ada"))
    with pytest.raises(ValueError, match="keep the claims elsewhere"):
        SignedCookie(KEY).header(Principal("ada", {"all": [number * number for number in range(2000)]}))


# --- passwords ---


def test_a_name_with_its_password_is_believed_and_no_other() -> None:
    passwords = Passwords({"ada": hash_password("right")})
    assert who(passwords, Credentials(basic=("ada", "right"))) == Principal("ada")
    for name, password in [("ada", "wrong"), ("ada", ""), ("bob", "right"), ("", "right"), ("ada", "x" * 2000)]:
        assert refused(passwords, Credentials(basic=(name, password))) == "password_wrong"
    assert refused(passwords, Credentials()) == "unauthorized"


def test_a_password_is_kept_so_that_it_cannot_be_read() -> None:
    assert hash_password("right") != hash_password("right")
    assert "right" not in hash_password("right")
    with pytest.raises(ValueError, match="the password of 'ada' is to be kept as hash_password"):
        Passwords({"ada": "right"})


def test_a_check_of_ones_own_says_who_it_is() -> None:
    async def check(name: str, password: str) -> bool | Principal:
        return Principal(f"user-{name}", {"admin": True}) if password == "right" else False

    assert who(Passwords(check), Credentials(basic=("ada", "right"))) == Principal("user-ada", {"admin": True})
    assert refused(Passwords(check), Credentials(basic=("ada", "wrong"))) == "password_wrong"


# --- several ---


def test_the_first_that_knows_somebody_decides_and_bad_credentials_are_not_tried_elsewhere() -> None:
    tokens, passwords = SignedToken(KEY), Passwords(lambda name, password: password == "right")
    both: Auths = [tokens, passwords]
    assert who(both, shown(tokens.issue("ada", lifetime=60))).id == "ada"
    assert who(both, Credentials(basic=("bob", "right"))).id == "bob"
    assert refused(both, Credentials(token="a.b.c", basic=("bob", "right"))) == "token_invalid"
    assert refused(both, Credentials()) == "unauthorized"
    assert Door(both).challenge == 'Bearer, Basic realm="understudy", charset="UTF-8"'


def test_without_any_everybody_is_a_stranger_of_its_own_and_the_last_may_let_them_in_beside_others() -> None:
    first, second = who([], Credentials()), who([], Credentials())
    assert first.anonymous
    assert first.id != second.id
    optional: Auths = [SignedToken(KEY), Anonymous()]
    assert who(optional, Credentials()).anonymous
    assert refused(optional, shown("a.b.c")) == "token_invalid"


def test_a_function_is_an_auth_too_and_what_it_returns_is_looked_at() -> None:
    assert who(lambda credentials: Principal(credentials.address), Credentials(address="::1")).id == "::1"
    with pytest.raises(TypeError, match="returns a Principal or None, not 'ada'"):
        who(lambda credentials: "ada", Credentials())  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="auth takes objects"):
        Door("token")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no refusal 'no such'"):
        Unauthorized("no such")


def test_a_principal_crosses_the_wire_and_is_one_of_a_set() -> None:
    ada = Principal("ada", {"roles": ["editor"]}, 1.5)
    assert len({ada, replace(ada)}) == 1
    assert stranger("x") == Principal("x", anonymous=True)
    json.dumps(ada.claims)
