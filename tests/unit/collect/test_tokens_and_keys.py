"""Who may vote on what: tokens of browsers, keys of servers."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collecting import NOW, open_store
from prospect.collect import keys as keys_module
from prospect.collect import tokens
from prospect.collect.keys import KeyFile, KeyPlace, KeyRing, StoredKeys, hash_key, make_key
from prospect.collect.tokens import LIFETIME, VOTE_KEYS, Claims, Signer
from prospect.errors import ConfigError, DataError, StoreError, UsageError

CLAIMS = Claims("main", "turn", "anna")
OLD, NEW = b"o" * 32, b"n" * 32
PEPPER = b"p" * 32


def test_a_token_allows_what_it_says_until_it_is_too_old() -> None:
    signer = Signer(lambda: [OLD])
    token = signer.sign(CLAIMS, NOW)
    assert signer.check(token, NOW) == signer.check(token, NOW + LIFETIME) == CLAIMS
    assert signer.check(token, NOW + LIFETIME + timedelta(seconds=2)) is None
    assert signer.check(token, NOW - timedelta(days=1)) == CLAIMS  # a clock that was set back


@given(st.data())
def test_a_token_of_which_one_character_is_another_allows_nothing(data: st.DataObject) -> None:
    signer = Signer(lambda: [OLD])
    token = signer.sign(CLAIMS, NOW)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(exclude_characters=token[place], exclude_categories=()))
    assert signer.check(token[:place] + other + token[place + 1 :], NOW) is None


@given(st.text())
def test_what_is_no_token_allows_nothing(text: str) -> None:
    signer = Signer(lambda: [OLD])
    assert signer.check(text, NOW) is None
    assert signer.check(f"{signer.sign(CLAIMS, NOW).partition('.')[0]}.{text}", NOW) is None


def test_claims_cannot_be_moved_to_another_token() -> None:
    signer = Signer(lambda: [OLD])
    mine, theirs = (signer.sign(Claims("main", turn, "anna"), NOW).split(".") for turn in ("mine", "theirs"))
    assert signer.check(".".join([mine[0], theirs[1], mine[2]]), NOW) is None


def test_after_a_rotation_old_tokens_are_good_until_their_key_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    known, clock = [OLD], [0.0]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock[0])
    server = Signer(lambda: known)
    old = server.sign(CLAIMS, NOW)
    known[:] = [NEW, OLD]
    clock[0] += 61
    new = server.sign(CLAIMS, NOW)
    assert new.partition(".")[0] != old.partition(".")[0]
    assert server.check(old, NOW) == server.check(new, NOW) == CLAIMS
    known[:] = [NEW]
    clock[0] += 61
    server.sign(CLAIMS, NOW)
    assert server.check(old, NOW) is None and server.check(new, NOW) == CLAIMS


def test_a_server_takes_up_the_key_of_another_that_rotated_first(monkeypatch: pytest.MonkeyPatch) -> None:
    known, clock = [OLD], [0.0]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock[0])
    server = Signer(lambda: known)
    known[:] = [NEW, OLD]
    token = Signer(lambda: known).sign(CLAIMS, NOW)
    assert server.check(token, NOW) is None  # it has just looked
    clock[0] += 11
    assert server.check(token, NOW) == CLAIMS


def test_keys_of_tokens_come_from_a_file_that_rotates_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROSPECT_VOTE_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = VOTE_KEYS.read()
    assert VOTE_KEYS.read() == first and len(first) == 1
    for _ in range(3):
        VOTE_KEYS.rotate(2)
    rotated = VOTE_KEYS.read()
    assert len(set(rotated)) == 3 and first[0] not in rotated
    assert VOTE_KEYS.path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PROSPECT_VOTE_KEYS", "one phrase of many,another phrase of many")
    assert len(VOTE_KEYS.read()) == 2
    with pytest.raises(ConfigError, match="Put a new phrase before the old ones"):
        VOTE_KEYS.rotate(2)


@pytest.fixture(params=["file", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> KeyPlace:
    if request.param == "file":
        return KeyFile(tmp_path / "keys.json")
    with open_store(str(tmp_path / "s.sqlite"), rater_key=PEPPER) as store:
        return StoredKeys(store.database)


def test_a_key_is_found_with_its_scopes_and_is_kept_as_a_hash_alone(place: KeyPlace, tmp_path: Path) -> None:
    secret, key = make_key("web", "acme", ["vote", "chat"], PEPPER)
    place.add(key)
    ring = KeyRing([place], PEPPER)
    found = asyncio.run(ring.find(secret))
    assert found is not None and (found.name, found.tenant, found.scopes) == ("web", "acme", {"chat", "vote"})
    for wrong in (secret[:-1], secret + "x", "", key.hash, "pk-\ud800", secret.upper(), "x" * 10_000):
        assert asyncio.run(ring.find(wrong)) is None
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    with pytest.raises(UsageError, match="tenant acme has a key of this name"):
        place.add(make_key("web", "acme", ["chat"], PEPPER)[1])


def test_a_revoked_key_is_refused_when_the_keys_are_read_again(
    place: KeyPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: clock[0])
    secret, key = make_key("web", "main", ["chat"], PEPPER)
    place.add(key)
    ring = KeyRing([place], PEPPER)
    assert asyncio.run(ring.find(secret))
    assert not place.revoke("other", "web") and place.revoke("main", "web") and not place.revoke("main", "web")
    assert asyncio.run(ring.find(secret))
    clock[0] += 6
    assert asyncio.run(ring.find(secret)) is None


def test_keys_outlive_a_store_that_is_down_but_need_it_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, down = [0.0], [True]
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: clock[0])
    secret, key = make_key("web", "main", ["chat"], PEPPER)

    class Place(KeyFile):
        def all(self) -> list[keys_module.ApiKey]:
            if down[0]:
                raise StoreError("down")
            return [key]

    ring = KeyRing([Place(Path("unused"))], PEPPER)
    with pytest.raises(StoreError):
        asyncio.run(ring.find(secret))
    down[0] = False
    assert asyncio.run(ring.find(secret))
    down[0] = True
    clock[0] += 100
    assert asyncio.run(ring.find(secret))


def test_a_hash_that_was_made_without_the_pepper_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    row = {"name": "me", "tenant": "main", "scopes": ["admin"], "hash": hash_key("pk-mine", b"guessed")}
    path.write_text(json.dumps({"keys": [row]}))
    assert asyncio.run(KeyRing([KeyFile(path)], PEPPER).find("pk-mine")) is None


@pytest.mark.parametrize("content", ["", "[]", '{"keys": [{}]}', '{"keys": [1]}', "\x00"])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(DataError, match="holds no API keys"):
        KeyFile(path).all()


@pytest.mark.parametrize(("name", "scopes"), [("web", ["root"]), ("web", []), (" ", ["chat"])])
def test_a_key_for_nothing_is_not_made(name: str, scopes: list[str]) -> None:
    with pytest.raises(UsageError, match="expected a name, and some of chat, vote, review, admin"):
        make_key(name, "main", scopes, PEPPER)
