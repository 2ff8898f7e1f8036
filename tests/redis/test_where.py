"""What a URL says, and what is said of one that cannot be."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.redis.storage import RedisStorage
from actorq.engines.redis.where import OPTIONS, SCHEMES, Address, where


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://", "localhost:6379/0"),
        ("redis://localhost", "localhost:6379/0"),
        ("redis://there:7000/3", "there:7000/3"),
        ("redis://there?db=4", "there:6379/4"),
        ("redis://[::1]:7000/1", "[::1]:7000/1"),
        ("redis://[::1]", "[::1]:6379/0"),
        ("REDISS://there", "there:6379/0"),
        ("unix:///run/redis.sock", "/run/redis.sock/0"),
        ("unix://me:secret@/run/redis.sock?db=2", "/run/redis.sock/2"),
        (
            "redis+sentinel://a:1,b/mymaster/5",
            "mymaster of the sentinels a:1,b:26379, database 5",
        ),
        ("redis+cluster://a:1,b", "cluster a:1,b:6379"),
    ],
)
def test_a_url_says_where(url: str, shown: str) -> None:
    """Each form, with what stands for what it leaves out."""
    assert str(where(url)) == shown


def test_a_login_is_taken_as_it_was_meant() -> None:
    """Quoted signs, a password alone, an at-sign in it."""
    found = where("redis://me:s%40%2Fcret@there")
    assert (found.username, found.password) == ("me", "s@/cret")
    found = where("redis://:secret@there")
    assert (found.username, found.password) == ("", "secret")
    found = where("redis://:a@b@there")
    assert (found.password, found.addresses) == ("a@b", (Address("there", 6379),))
    found = where("redis+sentinel://x:y@a/m?sentinel_username=s&sentinel_password=t")
    assert (found.sentinel_username, found.sentinel_password) == ("s", "t")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:6379", "begins with one of redis, rediss"),
        ("postgres://secret@x", "got postgres://..."),
        ("redis://a,b", "write redis.sentinel:// or redis.cluster://"),
        ("redis://a/1/2", "nothing after it"),
        ("redis://a/one", "the number of a database; got 'one'"),
        ("redis://a/1?db=2", "twice"),
        ("redis://a:port", "expects a port"),
        ("redis://a:0", "expects a port"),
        ("redis://:sec?ret@a", "quote the signs of a password"),
        ("redis://:sec#ret@a", "quote the signs of a password"),
        ("redis://a?lease=1", "unknown option 'lease'"),
        ("redis://a?ssl_ca_certs=x", "write rediss://"),
        ("rediss://a?ssl_cert_reqs=perhaps", "'required' or 'none'"),
        ("unix://run/redis.sock", "a third slash"),
        ("redis+sentinel://a", "the name of the master"),
        ("redis+cluster://a/1", "no database but 0"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    """And never a password."""
    with pytest.raises(ValueError, match=said) as raised:
        where(url)
    assert "secret" not in str(raised.value)
    with pytest.raises(TypeError, match="as text"):
        where(None)  # type: ignore[arg-type]


@given(st.sampled_from(SCHEMES), st.text(max_size=30), st.sampled_from(["", *OPTIONS]))
def test_anything_is_read_or_refused(scheme: str, rest: str, option: str) -> None:
    """With a ValueError, and nothing else."""
    said = ""
    try:
        found = where(f"{scheme}://me:s3cr3t@{rest}" + (f"?{option}=1" if option else ""))
        assert found.addresses
        said = f"{found}{found!r}"
    except ValueError as error:
        said = str(error)
    assert "s3cr3t" not in said or "@" in rest


def test_how_tls_is_spoken() -> None:
    """Certificates are looked at unless that is switched off."""
    assert where("rediss://a").ssl_context().verify_mode is ssl.CERT_REQUIRED
    context = where("rediss://a?ssl_cert_reqs=none").ssl_context()
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_who_cannot_reach_it_is_told_what_should_be_there() -> None:
    """And how it is written with TLS, or without."""
    for url, says in [
        ("redis://host", "a Redis server there: .* host and port.*with TLS it is rediss://"),
        ("rediss://host", "without TLS it is redis://"),
        ("redis+cluster://host", r"with TLS it is rediss\+cluster://"),
        ("redis+sentinel://host/mine", "sentinels there, which watch the master 'mine'"),
        ("unix:///a/socket", "is that its socket"),
    ]:
        assert re.search(says, where(url).expected)


def test_files_for_tls_that_are_no_use_are_said(tmp_path: Path) -> None:
    """The system's own errors do not say which they are."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for option in ("ssl_ca_certs=/nowhere.pem", f"ssl_certfile={empty}"):
        with pytest.raises(ValueError, match=option.partition("=")[2]):
            RedisStorage(f"rediss://me:secret@host?{option}")
