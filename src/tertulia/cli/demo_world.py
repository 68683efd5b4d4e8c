"""What happens in the demo: a bookshop with a café, its people, and ten days of their talk.

Times are `(days ago, "HH:MM" in UTC)`, or minutes ago for what happens today.
"""

from __future__ import annotations

from typing import Final, NamedTuple

When = tuple[int, str] | int


class Person(NamedTuple):
    """One of the people."""

    handle: str
    name: str
    status: str
    language: str = "en"


PEOPLE: Final = (
    Person("lola", "Lola Marín", "At the counter until six"),
    Person("mateo", "Mateo Ríos", "Roasting on Tuesdays"),
    Person("ines", "Inés Castaño", "Reading, as always"),
    Person("tom", "Tom Hadley", "Back on Thursday"),
    Person("yuki", "Yuki Tanabe", "Windows, posters, chalk"),
    Person("amara", "Amara Obi", "Books and invoices"),
    Person("paul", "Paul Lindqvist", "Night shift"),
    Person("sofia", "Sofía Duarte", "New here!", "es"),
)

BOT: Final = Person("till", "Till", "I count what is sold")

GROUPS: Final = {
    "team": (
        "Counter team",
        "Shifts, swaps and what ran out",
        ("lola", "mateo", "ines", "tom", "yuki", "amara", "paul", "sofia"),
    ),
    "reading": ("Thursday readings", "Who reads, who pours", ("ines", "lola", "yuki", "paul")),
}
"""Key → name, description, members; the first one owns it."""

CHANNELS: Final = {
    "news": (
        "House news",
        "house-news",
        "What everybody should know",
        "amara",
        ("lola", "mateo", "ines", "tom", "yuki", "paul", "sofia"),
    ),
    "books": (
        "Book talk",
        "book-talk",
        "What we read and what we would rather not have read",
        "ines",
        ("lola", "mateo", "yuki", "paul", "sofia", "tom"),
    ),
}
"""Key → name, slug, description, owner, members who join."""

TOPICS: Final = {
    "arrivals": ("books", "New arrivals", "ines"),
    "crime": ("books", "Crime corner", "paul"),
    "building": ("news", "The building", "amara"),
}
"""Key → channel, name, maker."""

DIRECTS: Final = {
    "lola-mateo": ("lola", "mateo"),
    "ines-yuki": ("ines", "yuki"),
    "amara-lola": ("amara", "lola"),
    "paul-tom": ("paul", "tom"),
    "sofia-lola": ("sofia", "lola"),
}


class Say(NamedTuple):
    """A message; `key` names it for what follows, `thread` and `reply` name earlier ones."""

    at: When
    who: str
    room: str
    text: str
    key: str = ""
    thread: str = ""
    reply: str = ""


class Ask(NamedTuple):
    """A poll."""

    at: When
    who: str
    room: str
    question: str
    options: tuple[str, ...]
    key: str


class Vote(NamedTuple):
    at: When
    who: str
    key: str
    option: int


class React(NamedTuple):
    at: When
    who: str
    key: str
    emoji: str


class Pin(NamedTuple):
    at: When
    who: str
    key: str


class Edit(NamedTuple):
    at: When
    who: str
    key: str
    text: str


class Read(NamedTuple):
    """Everybody named reads the room to its end; who is not named has unread messages there."""

    at: When
    room: str
    who: tuple[str, ...]


Step = Say | Ask | Vote | React | Pin | Edit | Read

EVERYONE: Final = tuple(person.handle for person in PEOPLE)

STEPS: Final[tuple[Step, ...]] = (
    Say((9, "08:05"), "amara", "news", "Good morning, everyone. From today our talk lives **here** and "
        "no longer on the back of till receipts.", "welcome"),
    React((9, "08:07"), "lola", "welcome", "🎉"),
    React((9, "08:11"), "mateo", "welcome", "🎉"),
    React((9, "09:40"), "tom", "welcome", "☕"),
    Say((9, "08:30"), "amara", "news", "Door code changes on the first of the month. Ask me in person, "
        "please, not in writing.", "door"),
    Pin((9, "08:31"), "amara", "door"),
    Say((9, "10:02"), "lola", "team", "Oat milk is gone. Again. 🥲", "oat"),
    Say((9, "10:04"), "mateo", "team", "Two cartons are behind the flour, I hid them from myself"),
    React((9, "10:05"), "lola", "oat", "😅"),
    Say((9, "16:20"), "tom", "team", "Can anyone take my Saturday morning? I have a train to catch", "swap"),
    Say((9, "16:28"), "paul", "team", "I can, if you take my Tuesday evening", thread="swap"),
    Say((9, "16:31"), "tom", "team", "Deal. Thank you!", thread="swap"),
    Say((9, "16:45"), "amara", "team", "Noted in the plan", thread="swap"),
    React((9, "16:46"), "tom", "swap", "🙏"),
    Say((8, "09:15"), "ines", "books", "I finished *The Summer Book* last night and started it again at "
        "once. When did that last happen to you?", "summer"),
    Say((8, "09:33"), "paul", "books", "With a timetable, but I was stuck in Malmö", thread="summer"),
    Say((8, "09:40"), "yuki", "books", "*Convenience Store Woman*. Twice on one flight", thread="summer"),
    Say((8, "12:10"), "mateo", "books", "Cookbooks do not count, I suppose?", thread="summer"),
    React((8, "12:12"), "ines", "summer", "📚"),
    React((8, "12:15"), "yuki", "summer", "📚"),
    Say((8, "17:02"), "ines", "arrivals", "Three boxes from the coast: poetry, two shelves of sea stories, "
        "and one atlas that does not fit any shelf we have", "boxes"),
    Say((8, "17:20"), "yuki", "arrivals", "The atlas goes in the window. I have an idea with blue paper"),
    React((8, "17:21"), "ines", "boxes", "🌊"),
    Say((8, "21:14"), "lola", "lola-mateo", "Did you lock the back door?"),
    Say((8, "21:15"), "mateo", "lola-mateo", "I did. I went back to look. It was locked"),
    Say((8, "21:15"), "lola", "lola-mateo", "So you went back twice 😄"),
    Say((7, "07:50"), "paul", "team", "Night shift report: the fridge hums in B flat now"),
    Say((7, "08:02"), "yuki", "team", "That is an improvement over A"),
    Say((7, "11:00"), "till", "news", "Week so far: 214 coffees, 61 books, 1 atlas (reserved).", "week1"),
    React((7, "11:03"), "amara", "week1", "📈"),
    Say((7, "13:25"), "ines", "ines-yuki", "The window is wonderful. A child just asked whether the sea "
        "is for sale"),
    Say((7, "13:31"), "yuki", "ines-yuki", "What did you say?"),
    Say((7, "13:32"), "ines", "ines-yuki", "By the metre"),
    Say((6, "18:40"), "paul", "crime", "Rule: whoever tells the ending buys a round"),
    Say((6, "18:52"), "tom", "crime", "It is always the one who runs the hotel. There, I said it", "hotel"),
    Say((6, "18:53"), "paul", "crime", "That will be six coffees", reply="hotel"),
    Say((6, "19:05"), "amara", "building", "The plumber comes tomorrow between eight and noon, so: noon"),
    Say((5, "08:30"), "mateo", "team", "New beans: *Huila*, washed. Taste of red apple and, according to "
        "the sack, *ambition*", "beans"),
    React((5, "08:41"), "lola", "beans", "☕"),
    React((5, "08:44"), "sofia", "beans", "☕"),
    React((5, "09:10"), "paul", "beans", "🍎"),
    Say((5, "12:05"), "amara", "building", "He came at 11:58. The sink is well again"),
    Say((5, "15:30"), "sofia", "sofia-lola", "Hi Lola, I am Sofía, I start on Monday. Where do I come in?"),
    Say((5, "15:42"), "lola", "sofia-lola", "Welcome! Side door, ring twice. I will be there from half past "
        "seven, with keys and a croissant"),
    Say((5, "15:43"), "sofia", "sofia-lola", "¡Gracias! The croissant decides it"),
    Ask((4, "10:00"), "ines", "reading", "What do we read on Thursday?",
        ("Short stories from the islands", "Letters nobody sent", "Bring one page of your own"), "what"),
    Vote((4, "10:12"), "lola", "what", 2),
    Vote((4, "10:30"), "yuki", "what", 0),
    Vote((4, "19:02"), "paul", "what", 2),
    Vote((4, "19:10"), "ines", "what", 2),
    Say((4, "19:11"), "ines", "reading", "One page of your own it is. I am nervous already"),
    Say((3, "09:20"), "amara", "amara-lola", "Invoices are done. We sold more chess books than chess sets; "
        "shall I order sets?"),
    Say((3, "09:26"), "lola", "amara-lola", "Four, please. And one more clock, ours has opinions"),
    Say((3, "12:00"), "till", "news", "Yesterday: 57 coffees, 19 books, 1 umbrella left behind (blue)."),
    Say((3, "12:40"), "tom", "news", "The umbrella is mine"),
    Say((2, "17:30"), "yuki", "team", "Poster for Thursday is up. Whoever sees a mistake in it: it is "
        "chalk, say it *now*", "poster"),
    Edit((2, "17:36"), "yuki", "poster", "Poster for Thursday is up. Whoever sees a mistake in it: it is "
        "chalk, say it *now* (time corrected: 19:30)"),
    Say((2, "17:35"), "paul", "team", "It says 17:30", thread="poster"),
    Say((2, "17:36"), "yuki", "team", "It said 17:30", thread="poster"),
    React((2, "17:37"), "paul", "poster", "😂"),
    React((2, "17:40"), "lola", "poster", "😂"),
    Read((2, "22:00"), "team", EVERYONE),
    Read((2, "22:00"), "news", EVERYONE),
    Read((2, "22:00"), "books", ("ines", "lola", "mateo", "yuki", "paul", "tom")),
    Read((2, "22:00"), "reading", ("ines", "lola", "yuki", "paul")),
    Read((2, "22:00"), "arrivals", ("ines", "yuki", "lola")),
    Say((1, "07:32"), "sofia", "team", "Day one. I have learnt the machine, the till, and that nobody "
        "touches the blue cup", "first"),
    React((1, "07:33"), "lola", "first", "💙"),
    React((1, "07:35"), "mateo", "first", "💙"),
    Say((1, "07:36"), "mateo", "team", "Nobody. @sofia you will go far", reply="first"),
    Say((1, "11:15"), "ines", "arrivals", "The second volume is here. Both of them, in fact; the publisher "
        "is generous or confused"),
    Say((1, "19:40"), "paul", "paul-tom", "How is the train?"),
    Say((1, "19:52"), "tom", "paul-tom", "Long. I finished your crime novel. It *was* the hotel"),
    Say((1, "20:10"), "lola", "reading", "Eleven people, one dog, and Paul read. I have no words"),
    Say((1, "20:14"), "ines", "reading", "I have one: again", "again"),
    React((1, "20:15"), "yuki", "again", "❤️"),
    React((1, "20:20"), "lola", "again", "❤️"),
    Say(185, "amara", "news", "Public holiday next Monday: we open at ten. @all please look at the plan "
        "before Friday", "holiday"),
    Pin(184, "amara", "holiday"),
    React(170, "tom", "holiday", "👍"),
    Say(150, "mateo", "lola-mateo", "The roaster wants to know how many kilos for next month"),
    Say(148, "lola", "lola-mateo", "What did we take last time?"),
    Say(120, "ines", "books", "A customer is looking for a book: green, \"not too long\", and it made her "
        "sister cry in 1994. Ideas?", "green"),
    Say(112, "paul", "books", "Was the sister reading it, or hit by it?", thread="green"),
    Say(104, "sofia", "books", "I would start with the green shelf", thread="green"),
    Say(101, "ines", "books", "We found it. It was blue", thread="green"),
    React(99, "paul", "green", "😂"),
    Read(95, "books", ("ines", "paul", "sofia")),
    Say(74, "till", "news", "Today so far: 38 coffees, 12 books, 1 blue umbrella collected."),
    Read(60, "news", ("amara", "ines", "tom", "paul")),
    Say(41, "mateo", "lola-mateo", "Twelve. And we ran out on the 24th"),
    Say(40, "lola", "lola-mateo", "Then fifteen"),
    Read(39, "lola-mateo", ("lola", "mateo")),
    Say(22, "yuki", "team", "The chess people ask whether they may stay until nine tonight"),
    Say(19, "paul", "team", "If they sweep, they may stay until ten"),
    Say(12, "sofia", "sofia-lola", "Lola, the blue cup. It was not me, but I know where the glue is"),
    Say(6, "tom", "team", "@lola there is a gentleman here with an atlas. He says it is about the sea"),
    Say(3, "mateo", "lola-mateo", "And bring the oat milk, behind the flour"),
)  # fmt: skip
