"""Turns that share their text: whatever clients send, each prompt comes back as it was sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collecting import a_turn
from prospect.collect import rows
from prospect.collect.database import Database
from prospect.collect.migrating import migrate
from prospect.collect.turns import chain, plain

contents = st.one_of(
    st.sampled_from(["a", "b", ""]),
    st.text(max_size=5),
    st.builds(lambda text: [{"type": "text", "text": text}], st.text(max_size=3)),
    st.none(),
)
messages = st.builds(
    lambda role, content, name: {"role": role, "content": content, "name": name},
    st.sampled_from(["system", "user", "assistant", "tool"]),
    contents,
    st.sampled_from([None, None, "n"]),
)
answers = st.builds(lambda content: {"role": "assistant", "content": content, "refusal": None}, contents)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_prompt_comes_back_as_it_was_sent(tmp_path_factory: Any, data: st.DataObject) -> None:
    """Conversations that go on, branch, repeat, and are edited, in any order."""
    database = Database(tmp_path_factory.mktemp("s") / "s.sqlite")
    migrate(database)
    sent: list[Any] = []
    for number in range(data.draw(st.integers(1, 8))):
        history = data.draw(st.lists(messages, max_size=3))
        if sent and data.draw(st.booleans()):
            before = data.draw(st.sampled_from(sent))
            history = [*before.messages, before.completion, *history]
            if data.draw(st.integers(0, 3)) == 0:
                history[data.draw(st.integers(0, len(history) - 1))] = data.draw(messages)
        turn = a_turn(history, data.draw(answers), conversation=data.draw(st.sampled_from(["c", None])), id=str(number))
        sent.append(turn)
        with database.writing() as connection:
            rows.insert_turn(connection, turn, b"k" * 32)
    with database.reading() as connection:
        for turn in sent:
            kept = rows.read_turn(connection, "main", turn.id)
            assert kept is not None
            assert list(kept.messages) == list(map(plain, turn.messages))
            assert kept.completion == plain(turn.completion)
    database.close()


@given(st.lists(messages, min_size=1, max_size=6), st.data())
def test_one_changed_message_is_another_history(history: list[Any], data: st.DataObject) -> None:
    place, other = data.draw(st.integers(0, len(history) - 1)), data.draw(messages)
    changed = [*history[:place], other, *history[place + 1 :]]
    same = plain(other) == plain(history[place])
    assert (chain(a_turn(history), b"k").asked == chain(a_turn(changed), b"k").asked) == same
    assert (chain(a_turn(history), b"k").reach == chain(a_turn(changed), b"k").reach) == same
