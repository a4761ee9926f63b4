"""What the people of the demo world said to each other, in pairs and in groups."""

from typing import Final, NamedTuple


class Group(NamedTuple):
    """`members` begins with the owner, then the admin; a line is (who, what)."""

    name: str
    description: str
    members: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]


TALKS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("anna", "bert"): ("Is there bread left?", "Two loaves. One is yours.", "You are a good man, Bert.", "I know."),
    ("anna", "carla"): ("Are you coming to choir?", "At seven?", "At seven."),
    ("anna", "dario"): ("Where are you today?", "On a ferry to Ancona. The sea is flat as a table."),
    ("bert", "carla"): ("Your bicycle is ready. Anna did it.", "That was quick!"),
    ("bert", "elif"): ("Honey for bread?", "Always. Three jars?", "Three jars it is."),
    ("carla", "dario"): ("Bring me a postcard.", "Already in the post."),
    ("carla", "greta"): ("I heard you practise.", "Sorry!", "No, it was lovely."),
    ("dario", "farid"): ("The night train still runs.", "Then I am coming, too.", "Platform 4, 22:10."),
    ("elif", "farid"): ("The bees have swarmed.", "Do you need a ladder?", "Yes, and a calm friend."),
    ("elif", "greta"): ("Will you play at the market?", "If it does not rain."),
    ("farid", "hugo"): ("Who was here first?", "I was."),
    ("greta", "hugo"): ("Do you have the old score?", "Somewhere. Give me a day.", "Take two."),
    ("hugo", "vera"): (
        "You asked about the flood of '62.",
        "I did! Tuesday?",
        "Tuesday. Bring your machine, my handwriting has left me.",
        "And cake.",
        "And cake.",
    ),
    ("ines", "nils"): ("Your radio hums.", "It is supposed to.", "It hums Wagner.", "Then it is fixed."),
    ("samir", "yara"): ("Mint?", "On the roof, left of the chimney. Take all you need, brother."),
    ("kaja", "dario"): ("02:14 is 02:17 from Monday.", "Who told you?", "The timetable. I asked it nicely."),
    ("mira", "tove"): ("Running at six?", "In the evening?", "…", "Fine. Six."),
}

GROUPS: Final = (
    Group(
        "Choir",
        "Thursdays at seven, in the old school. Bring a pencil.",
        ("anna", "wanda", "carla", "greta", "mira", "tove"),
        (
            ("wanda", "Bars 40 to 62 by Thursday, please. By heart."),
            ("carla", "By whose heart?"),
            ("wanda", "Yours, Carla."),
            ("mira", "The altos have it."),
            ("tove", "The altos always have it."),
            ("greta", "I can play the lines for those who want to practise. Six o'clock, before the rehearsal."),
            ("anna", "I'll come. Can somebody bring the key? Mine opens everything but that door."),
            ("wanda", "I have it."),
            ("tove", "Who does the buffet after the concert?"),
            ("anna", "Bert has promised eleven loaves."),
            ("tove", "Then I am singing well this time."),
            ("wanda", "You are singing well every time. Bars 40 to 62!"),
        ),
    ),
    Group(
        "Sunday market",
        "Who stands where, and who brings what.",
        ("bert", "elif", "rosa", "ugo", "samir", "yara", "anna"),
        (
            ("bert", "The square is ours from five. The fountain is running again, so no tables on the north side."),
            ("rosa", "North side was me."),
            ("elif", "Come next to the bees. They do not mind."),
            ("rosa", "Do I mind?"),
            ("elif", "They are in jars by then, Rosa."),
            ("samir", "Coffee from half past four for whoever carries something."),
            ("ugo", "I carry."),
            ("yara", "Herbs, two crates. Is there shade?"),
            ("bert", "Under the lime tree. Till eleven, then it wanders."),
            ("ugo", "No fish this week. The sea said no."),
            ("anna", "I can mend bicycles beside the fountain, if that helps anybody."),
            ("samir", "It helps me. Third wheel."),
            ("bert", "Then we are complete. Sunday!"),
        ),
    ),
    Group(
        "Night trains",
        "Those that still run, those that might, those that will be missed.",
        ("dario", "kaja", "farid", "luca", "jonas", "pavel"),
        (
            ("kaja", "The sleeper to Split is back, from the 12th, twice a week."),
            ("dario", "With the old carriages?"),
            ("kaja", "With the old carriages. Windows that open."),
            ("luca", "I am in. Who else?"),
            ("pavel", "Me, if there is a dining car."),
            ("kaja", "There is a trolley."),
            ("pavel", "Then half of me."),
            ("jonas", "I will draw the line as it was in 1978 and we compare at each stop."),
            ("farid", "Chess in compartment 6. Loser makes tea."),
            ("dario", "Six berths held until Friday. Say yes by then."),
            ("luca", "Yes."),
            ("farid", "Yes."),
            ("jonas", "Yes."),
            ("pavel", "All of me, then. Yes."),
        ),
    ),
    Group(
        "Allotment 12",
        "Water, tools and the goat of number 13.",
        ("ines", "olga", "elif", "nils", "yara"),
        (
            ("olga", "The goat was here again."),
            ("ines", "My beans?"),
            ("olga", "Your beans were here. They are not any more."),
            ("nils", "I can build something with a buzzer."),
            ("elif", "The bees would like that even less than the goat."),
            ("yara", "A gate? We could just have a gate."),
            ("ines", "Yara has a point. Saturday, nine o'clock: a gate."),
            ("nils", "With a small buzzer."),
            ("olga", "Without a buzzer, Nils."),
        ),
    ),
)
