"""Who lives in the demo world: names, what they say of themselves, and whom they follow, trust, mute and block."""

from typing import Final, NamedTuple


class Soul(NamedTuple):
    """One of them; `follows` and `close` are usernames divided by spaces."""

    name: str
    bio: str | None
    interests: tuple[str, ...]
    follows: str
    close: str = ""


PEOPLE: Final[dict[str, Soul]] = {
    "anna": Soul(
        "Anna Lindqvist",
        "Sings in the morning, mends bicycles in the afternoon.",
        ("choir", "bicycles", "bread"),
        "bert carla dario elif greta mira tove hugo",
        "bert carla greta",
    ),
    "bert": Soul(
        "Bert Osterhaus",
        "Bakes bread. Will trade it for stories.",
        ("bread", "markets"),
        "anna carla elif rosa ugo hugo",
        "anna elif",
    ),
    "carla": Soul("Carla Mendes", None, ("choir", "postcards"), "anna bert dario greta wanda hugo", "anna"),
    "dario": Soul(
        "Dario Conti",
        "Night trains and slow ferries.",
        ("trains", "ferries", "maps"),
        "carla farid kaja luca jonas pavel hugo anna",
        "farid luca",
    ),
    "elif": Soul("Elif Aydın", "Keeps bees.", ("bees", "gardens", "markets"), "anna bert farid greta ines yara hugo"),
    "farid": Soul("Farid Rahimi", None, ("trains", "chess"), "dario elif kaja hugo samir", "dario"),
    "greta": Soul(
        "Greta Holm",
        "Plays the cello, mostly in tune.",
        ("music", "choir"),
        "anna carla elif mira wanda hugo vera",
        "anna mira",
    ),
    "hugo": Soul("Hugo Brandt", "Was here first.", ("history",), "greta vera"),
    "ines": Soul(
        "Inês Duarte",
        "Tomatoes on four square metres, and opinions on all of them.",
        ("gardens", "seeds"),
        "elif nils yara olga hugo",
    ),
    "jonas": Soul("Jonas Berg", "Draws maps of places that are not there.", ("maps", "trains"), "dario kaja hugo"),
    "kaja": Soul(
        "Kaja Nowak", "Timetables, by heart.", ("trains", "photography"), "dario farid luca jonas pavel tove hugo"
    ),
    "luca": Soul("Luca Ferri", None, ("trains", "coffee"), "dario kaja ugo rosa hugo"),
    "mira": Soul("Mira Petrović", "Alto. Early riser. In that order.", ("choir", "running"), "anna greta tove wanda"),
    "nils": Soul("Nils Aalto", "Repairs radios; some of them work.", ("radios", "gardens"), "ines olga hugo samir"),
    "olga": Soul("Olga Ivanova", "Compost is a long conversation.", ("gardens", "chess"), "ines nils farid yara"),
    "pavel": Soul("Pavel Dvořák", None, ("trains", "beer"), "dario kaja jonas"),
    "rosa": Soul("Rosa Jiménez", "Cheese, if you ask nicely.", ("markets", "cheese"), "bert elif ugo samir yara hugo"),
    "samir": Soul("Samir Haddad", "Coffee on three wheels.", ("coffee", "markets", "bicycles"), "rosa ugo anna luca"),
    "tove": Soul(
        "Tove Jensen", "Second soprano, first at the buffet.", ("choir", "photography"), "anna mira kaja wanda"
    ),
    "ugo": Soul("Ugo Marchetti", None, ("markets", "fishing"), "bert rosa luca samir"),
    "vera": Soul(
        "Vera Novotná",
        "Writes down what old people tell her.",
        ("history", "postcards"),
        "hugo greta carla",
        "hugo",
    ),
    "wanda": Soul("Wanda Zielińska", "Conducts. Also traffic.", ("choir", "music"), "anna carla greta mira tove"),
    "yara": Soul("Yara Haddad", "Herbs from the roof.", ("gardens", "markets", "cooking"), "elif ines rosa samir bert"),
    "zeno": Soul("Zeno", "Half the way, and then half of the rest.", ("paradoxes",), "hugo vera anna dario"),
}

# Hugo has heard enough of him; neither of the two sees the other any more.
BLOCKS: Final = (("hugo", "zeno"),)
# Dario posts a lot of timetables.
MUTES: Final = (("carla", "kaja"), ("anna", "zeno"))


def follows() -> set[tuple[str, str]]:
    """(who, whom); a block ended what there was between the two, in both directions."""
    blocked = {*BLOCKS, *((b, a) for a, b in BLOCKS)}
    return {(who, whom) for who, soul in PEOPLE.items() for whom in soul.follows.split()} - blocked


def close_friends() -> set[tuple[str, str]]:
    return {(who, whom) for who, soul in PEOPLE.items() for whom in soul.close.split()}
