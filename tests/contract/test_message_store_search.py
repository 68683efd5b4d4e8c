"""What every message store promises about search: what is found, and what nobody is shown."""

from __future__ import annotations

import pytest

from tertulia.domain.content import Attachment, ContactCard, Content, Encrypted, Location, Poll, Text
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Block, Conversation, Hidden, Member
from tertulia.domain.unit import Put, Remove
from tertulia.ports.message_store import SearchQuery
from tests.contract.store_factory import Store
from tests.contract.units import (
    AT,
    TENANT,
    about,
    block,
    conversation,
    delete,
    edit,
    made,
    member,
    text,
    unit,
)

NEEDLE = Attachment(blob="b", name="needle.pdf", media_type="a/b", size=1)


async def group(store: Store, log: str, *names: str, **fields: object) -> None:
    """A conversation whose members may read it from its beginning."""
    rows = tuple(member(log, name) for name in names)
    await store.append(unit(made(log), writes=(conversation(log, **fields), *rows)))


async def say(store: Store, log: str, *texts: str, actor: str = "ann", at: int = AT) -> list[int]:
    seqs: list[int] = []
    for words in texts:
        done = await store.append(unit(text(log, words, actor=actor), actor=actor, at=at))
        seqs.append(done.events[0].seq)
    return seqs


async def found(store: Store, words: str, *, user: str = "bob", **how: object) -> list[tuple[str, int]]:
    query = SearchQuery(**{"tenant": TENANT, "user": user, "text": words, **how})
    return [(hit.view.event.log, hit.view.seq) for hit in await store.search(query)]


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "query", "hit"),
    [
        ("The quick brown fox", "quick", True),
        ("The quick brown fox", "QUICK fox", True),
        ("The quick brown fox", "quick cat", False),
        ("The quick brown fox", "qui", False),
        ("The quick brown fox", "qui*", True),
        ("The quick brown fox", "q* f*", True),
        ("The quick brown fox", '"quick brown"', True),
        ("The quick brown fox", '"brown quick"', False),
        ("The quick brown fox", '"quick bro"*', True),
        ("The quick brown fox", "“quick brown”", True),
        ("mail ann@example.org, please", "ann@example.org", True),
        ("mail ann@example.org, please", "example", True),
        ("a snake_case name", "snake", True),
        ("Crème brûlée à la Straße", "creme BRULEE strasse", True),
        ("Ελλάδα", "ελλαδα", True),
        ("Ёлки зелёные", "елки", True),
        ("今天天气很好", "天气", True),
        ("今天天气很好", "气天", False),
        ("今天天气很好 mañana", "今天* manana", True),
        ("東京タワーへ行く", "タワー", True),
        ("서울에서 만나요", "서울", True),
        ("สวัสดีครับ", "ครับ", True),
        ("مَرْحَبًا بِكُمْ يا أحمد", "مرحبا احمد", True),
        ("مرحبا بكم", "مَرْحَبًا", True),
        ("المدرسة", "المدرسه", True),
        ("שָׁלוֹם", "שלום", True),
        ("हिन्दी में लिखो", "हिन्दी", True),
        ("हिन्दी में लिखो", "हिन", False),
        ("party 🎉🎉", "🎉", True),
        ("thumbs 👍🏽", "👍", True),
        ("anything", 'AND OR NOT ( ) NEAR("x") ^ : - + * "', False),
        ("and or not near x", 'AND OR NOT ( ) NEAR("x") ^ : - +', True),
        ("text : log", "text:log", True),
        ("it is 12 o'clock", "12", True),
        ("anything", "", False),
        ("anything", "!!! ***", False),
        ("anything", '"', False),
        ("null\x00byte", "null byte", True),
    ],
)
async def test_words_are_found_in_every_script(store: Store, message: str, query: str, hit: bool) -> None:
    await group(store, "a", "bob")
    await say(store, "a", message)
    assert await found(store, query) == ([("a", 2)] if hit else [])


async def test_a_search_has_a_bounded_number_of_words(store: Store) -> None:
    await group(store, "a", "bob")
    assert await found(store, " ".join("abcdefghijklmnopqrstuvwxyzabcdef")) == []
    with pytest.raises(Refusal) as caught:
        await found(store, "x " * 33)
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    ("content", "hit"),
    [
        (
            Text(text="x", attachments=(Attachment(blob="b", name="needle.pdf", media_type="a/b", size=1),)),
            True,
        ),
        (Poll(question="a needle?", options=("y", "n")), True),
        (Poll(question="?", options=("y", "needle")), True),
        (Location(latitude=1, longitude=2, name="Needle Street"), True),
        (ContactCard(name="Needle"), True),
        (ContactCard(name="x", email="needle@x"), False),
        (Encrypted(scheme="mls", ciphertext="needle"), False),
    ],
    ids=["attachment", "question", "option", "place", "card", "address", "encrypted"],
)
async def test_every_content_gives_its_own_words(store: Store, content: Content, hit: bool) -> None:
    await group(store, "a", "bob")
    await store.append(unit(text("a", content)))
    assert bool(await found(store, "needle")) is hit


# --- changes -------------------------------------------------------------------------------------


async def test_an_edited_message_is_found_by_its_new_words_only(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", "old words")
    assert await found(store, "old") == [("a", 2)]
    await store.append(unit(edit("a", 2, "new words")))
    assert await found(store, "old") == []
    assert await found(store, "new") == [("a", 2)]
    assert await found(store, "words") == [("a", 2)]


async def test_a_deleted_message_is_found_no_more(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", "one needle", "two needle", "three needle")
    await store.append(unit(delete("a", 2)))
    await store.append(unit(about("a", "message.deleted", 4)))
    assert await found(store, "needle") == [("a", 3)]
    await store.append(unit(edit("a", 2, "needle again")))
    assert await found(store, "needle") == [("a", 3)]


async def test_search_sees_every_commit_before_it(store: Store) -> None:
    await group(store, "a", "bob")
    for n in range(30):
        await say(store, "a", f"word{n}")
        assert await found(store, f"word{n}") == [("a", n + 2)]


# --- filters and pages ---------------------------------------------------------------------------


async def test_search_by_conversation_sender_and_time(store: Store) -> None:
    await group(store, "a", "bob")
    await group(store, "b", "bob")
    await say(store, "a", "needle", at=AT + 10)
    await say(store, "b", "needle", at=AT + 20, actor="cid")
    await say(store, "a", "needle", at=AT + 30, actor="cid")
    assert await found(store, "needle") == [("a", 3), ("b", 2), ("a", 2)]
    assert await found(store, "needle", conversation="a") == [("a", 3), ("a", 2)]
    assert await found(store, "needle", sender="cid") == [("a", 3), ("b", 2)]
    assert await found(store, "needle", since=AT + 20) == [("a", 3), ("b", 2)]
    assert await found(store, "needle", until=AT + 20) == [("b", 2), ("a", 2)]
    assert await found(store, "needle", since=AT + 11, until=AT + 29, conversation="b") == [("b", 2)]
    assert await found(store, "needle", conversation="nowhere") == []


async def test_pages_of_hits(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", *[f"needle {n}" for n in range(7)])
    await store.append(unit(delete("a", 5)))
    before, seen = 0, list[int]()
    for _ in range(10):
        query = SearchQuery(tenant=TENANT, user="bob", text="needle", limit=2, before=before)
        hits = await store.search(query)
        if not hits:
            break
        seen += [hit.view.seq for hit in hits]
        before = hits[-1].position
    assert seen == [8, 7, 6, 4, 3, 2]


async def test_a_hit_is_the_message_as_it_stands(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", "needle")
    await store.append(unit(about("a", "message.pinned", 2)))
    (hit,) = await store.search(SearchQuery(tenant=TENANT, user="bob", text="needle"))
    assert hit.view == await store.message("a", 2)
    assert hit.view.fold.pinned


# --- what nobody is shown ------------------------------------------------------------------------


async def test_only_members_find_anything(store: Store) -> None:
    await group(store, "a", "bob")
    await group(store, "open", "cid", kind="channel", public=True, listed=1)
    await say(store, "a", "needle")
    await say(store, "open", "needle")
    assert await found(store, "needle", user="bob") == [("a", 2)]
    assert await found(store, "needle", user="cid") == [("open", 2)]
    assert await found(store, "needle", user="dan") == []
    assert await found(store, "needle", user="bob", conversation="open") == []
    await store.append(unit(writes=(Remove(Member, (TENANT, "a", "bob")),)))
    assert await found(store, "needle", user="bob") == []


async def test_tenants_do_not_see_each_other(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", "needle")
    other = Conversation(tenant="t2", id="z", kind="group", created_at=AT, created_by="ann")
    await store.append(
        unit(
            made("z"),
            text("z", "needle"),
            tenant="t2",
            writes=(
                Put(other),
                Put(Member(tenant="t2", conversation="z", user="bob", role="member", joined_at=AT)),
            ),
        )
    )
    assert await found(store, "needle") == [("a", 2)]
    assert await found(store, "needle", tenant="t2") == [("z", 2)]


@pytest.mark.parametrize(("history", "seqs"), [("joined", [3]), ("all", [3, 2])])
async def test_history_from_the_join_on(store: Store, history: str, seqs: list[int]) -> None:
    await store.append(
        unit(made("a"), writes=(conversation("a", history=history), member("a", "bob", since=2)))
    )
    await say(store, "a", "needle", "needle")
    assert await found(store, "needle") == [("a", seq) for seq in seqs]


async def test_topics_are_searched_with_their_channel(store: Store) -> None:
    await store.append(
        unit(
            made("c", "channel"),
            made("t", "topic", room="c"),
            made("gone", "topic", room="c"),
            writes=(
                conversation("c", kind="channel"),
                conversation("t", kind="topic", parent="c"),
                conversation("gone", kind="topic", parent="c", deleted_at=AT),
                member("c", "bob", since=5),
            ),
        )
    )
    await say(store, "c", "needle")
    await say(store, "t", "needle")
    await say(store, "gone", "needle")
    assert await found(store, "needle") == [("t", 2)]
    assert await found(store, "needle", conversation="c") == [("t", 2)]
    assert await found(store, "needle", conversation="t") == [("t", 2)]
    assert await found(store, "needle", user="cid") == []


async def test_deleted_conversations_are_not_searched(store: Store) -> None:
    await group(store, "a", "bob", deleted_at=AT)
    await say(store, "a", "needle")
    assert await found(store, "needle") == []


async def test_replies_in_threads_are_found(store: Store) -> None:
    await group(store, "a", "bob")
    await say(store, "a", "root")
    await store.append(unit(text("a", "needle", thread=2)))
    assert await found(store, "needle") == [("a", 3)]


async def test_what_one_hid_is_hidden_from_oneself_only(store: Store) -> None:
    await group(store, "a", "bob", "cid")
    await say(store, "a", "needle", "needle")
    await store.append(unit(writes=(Put(Hidden(tenant=TENANT, user="bob", conversation="a", seq=3)),)))
    assert await found(store, "needle") == [("a", 2)]
    assert await found(store, "needle", user="cid") == [("a", 3), ("a", 2)]


async def test_blocked_people_are_found_in_direct_conversations_only(store: Store) -> None:
    await group(store, "a", "bob", "ann")
    await group(store, "d", "bob", "ann", kind="direct", pair="ann:bob")
    await say(store, "a", "needle")
    await say(store, "d", "needle")
    await store.append(unit(writes=(block("bob", "ann"),)))
    assert await found(store, "needle") == [("d", 2)]
    assert await found(store, "needle", user="ann") == [("d", 2), ("a", 2)]
    await store.append(unit(writes=(Remove(Block, (TENANT, "bob", "ann")),)))
    assert await found(store, "needle") == [("d", 2), ("a", 2)]


async def test_hidden_hits_do_not_shorten_a_page(store: Store) -> None:
    await group(store, "a", "bob")
    await group(store, "secret", "cid")
    for n in range(6):
        await say(store, "secret" if n % 2 else "a", "needle")
    assert await found(store, "needle", limit=3) == [("a", 4), ("a", 3), ("a", 2)]


async def test_a_member_of_very_many_conversations_finds_their_own_only(store: Store) -> None:
    names = [f"g{n}" for n in range(450)]
    writes = tuple(write for log in names for write in (conversation(log), member(log, "bob")))
    await store.append(unit(*[made(log) for log in names], writes=writes))
    await group(store, "secret", "cid")
    for log in ("g3", "secret", "g449"):
        await say(store, log, "needle")
    assert await found(store, "needle") == [("g449", 2), ("g3", 2)]
