"""The stories of the demo world: who tells what to whom, how long ago, and how it was received."""

from typing import Final, NamedTuple

from storage.seed_people import BLOCKS, close_friends, follows

DAY_MINUTES: Final = 24 * 60


class Tale(NamedTuple):
    """A text story; older than a day it has ended. `audience` narrows followers, in usernames divided by spaces."""

    author: str
    text: str
    minutes_ago: int
    visibility: str = "public"
    audience: str = ""


STORIES: Final = (
    Tale("bert", "First batch is out. The window is open. You know what to do.", 35),
    Tale("dario", "Sunrise over the Adriatic, seat 61, window.", 130),
    Tale("dario", "And a second one, because it has not stopped.", 95),
    Tale("anna", "Eleven bicycles, one afternoon, no skin on my knuckles.", 260, "followers"),
    Tale("anna", "I am going to sing the solo. Do not tell Wanda I told you.", 48, "close_friends"),
    Tale("greta", "Rehearsal room, empty, echo included.", 410, "followers"),
    Tale("elif", "Forty thousand new neighbours since this morning.", 640),
    Tale("kaja", "02:17. I was there. It was 02:17.", 1_150),
    Tale("rosa", "The blue one is ready. I will not say more.", 1_385),  # ends within the hour
    Tale("hugo", "This square, in 1962: a boat.", 1_300, "followers"),  # ends within three hours
    Tale("vera", "Four hours of tape. Three of them laughter.", 1_260, "followers", "hugo"),
    Tale("samir", "Third wheel works again. Thank you, Anna!", 720),
    Tale("ines", "BEFORE: beans. AFTER: goat.", 880),
    Tale("wanda", "Note to self: bars 40 to 62.", 15, "private"),
    Tale("luca", "Espresso at 140 km/h.", 1_700),  # over
    Tale("mira", "Six o'clock. She came.", 1_900, "followers"),  # over
    Tale("carla", "A postcard! A real one!", 2_600, "close_friends"),  # over
)
REACTIONS: Final = ("❤️", "😂", "👍", "😮", "🔥", "👏")


def may_see(viewer: str, tale: Tale) -> bool:
    """Somebody else than the author, as the rules for visibility have it."""
    if viewer == tale.author or (viewer, tale.author) in BLOCKS or (tale.author, viewer) in BLOCKS:
        return False
    if tale.visibility == "public":
        return True
    if tale.visibility == "followers":
        named = tale.audience.split()
        return (viewer, tale.author) in follows() and (not named or viewer in named)
    return tale.visibility == "close_friends" and (tale.author, viewer) in close_friends()
