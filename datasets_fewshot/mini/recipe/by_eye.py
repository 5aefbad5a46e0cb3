"""Corrections to matching by name, found by looking at montages: family -> icon name -> emoji name or None.

None drops an icon whose picture shows something other than the emoji of its name.
"""

HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
CLOCKS = {f"clock{hour}oclock": f"{word} o'clock" for hour, word in enumerate(HOURS, start=1)}
CLOCKS |= {f"clock{hour}thirty": f"{word}-thirty" for hour, word in enumerate(HOURS, start=1)}

SPORT_NOT_INSECT: dict[str, str | None] = {"cricket": "cricket game"}

BY_EYE: dict[str, dict[str, str | None]] = {
    "fxemoji": {
        **CLOCKS,
        "wave": "water wave",
        "bow": "ribbon",
        "keyboard": "musical keyboard",
        "kiss": None,
        "up": None,
        "dogside": "dog",
        "catside": "cat",
        "pigside": "pig",
        "mouseside": "mouse",
        "leopardside": "leopard",
        "dragonside": "dragon",
        "dragonhead": "dragon face",
        "bunny": "rabbit face",
        "bunnyside": "rabbit",
        "pigsnout": "pig nose",
        "hampster": "hamster",
        "frontfacingchick": "front-facing baby chick",
        "monkeyhear": "hear-no-evil monkey",
        "monkeysee": "see-no-evil monkey",
        "monkeyspeak": "speak-no-evil monkey",
        "evergreen": "evergreen tree",
        "fallingleaf": "fallen leaf",
        "leaffluttering": "leaf fluttering in wind",
        "acorn": "chestnut",
        "chilipepper": "hot pepper",
        "fishcakeswirl": "fish cake with swirl",
        "forkknife": "fork and knife",
        "present": "wrapped gift",
        "confetti": "confetti ball",
        "highspeedtrainbulletnose": "bullet train",
        "americasglobe": "globe showing americas",
        "europeafricaglobe": "globe showing europe-africa",
        "asiaaustraliaglobe": "globe showing asia-australia",
        "meridianglobe": "globe with meridians",
        "heartarrow": "heart with arrow",
        "heartblue": "blue heart",
        "heartgreen": "green heart",
        "heartpurple": "purple heart",
        "heartyellow": "yellow heart",
        "2hearts": "two hearts",
        "heels": "high-heeled shoe",
        "mansshirt": "t-shirt",
        "mensshoe": "man's shoe",
        "mensrunner": "running shoe",
        "sandals": "woman's sandal",
        "cellphone": "mobile phone",
        "floppydisk2": "floppy disk",
        "handheldvideocamera": "video camera",
        "leftmagnifyingglass": "magnifying glass tilted left",
        "rightmagnifyingglass": "magnifying glass tilted right",
        "banknotedollar": "dollar banknote",
        "banknoteeuro": "euro banknote",
        "banknotepound": "pound banknote",
        "banknoteyen": "yen banknote",
        "outbox": "outbox tray",
        "lockandkey": "locked with key",
        "controlknob": "control knobs",
        "medicalmask": "face with medical mask",
        "screamfear": "face screaming in fear",
        "loudlycrying": "loudly crying face",
        "crying": "crying face",
        "grintears": "face with tears of joy",
        "saggitarius": "sagittarius",
        "flexbicep": "flexed biceps",
        "bowing": "person bowing",
    },
    "emojitwo": SPORT_NOT_INSECT | {"laptop-computer": "laptop", "school-backpack": "backpack"},
    "emojitwo-mono": SPORT_NOT_INSECT | {"laptop-computer": "laptop", "school-backpack": "backpack"},
    "noto-v1": SPORT_NOT_INSECT | {"laptop-computer": "laptop", "school-backpack": "backpack"},
    "streamline": {
        "turkey": "türkiye flag",
        "china": "china flag",
        "france": "france flag",
        "germany": "germany flag",
        "italy": "italy flag",
        "russia": "russia flag",
        "south-korea": "south korea flag",
        "spain": "spain flag",
        "united-kingdom": "united kingdom flag",
        "united-states": "united states flag",
        "game-dice": "game die",
        "red-wine-glass": "wine glass",
        "school-backpack": "backpack",
        "crazy-face": "zany face",
    },
}

# These beginnings of clip-art file names are left out: the picture is broken, shows something other than its folder
# says, or shows a private person.
CLIPART_LEFT_OUT = (
    "stylized_yoga_person", "duck_yellow_i", "tux_didier", "manager_mimooh", "wing_mitchell", "virus_andreas",
    "crossroads", "curve_ahead", "cycle_lane", "cycle_route", "lighthouse", "parking_romus", "quay_sign",
    "shelby_cobra", "tsunami_warning", "houses_jon", "cactus_linda", "cartoon_tree", "noi_due_insieme", "baby_bottle",
    "sexy_lady", "stripper", "van_gogh", "symbol_for_a_church", "safety_pin", "samoa_tatoo", "fingerprint", "blue_eye",
    "left_hand_print", "right_hand_print", "fire_engine", "feet_in_sandals", "gender_jakob", "don_t_panic", "skull",
    "eyes_", "woman_eye", "3_faces", "hygieia", "sailing_kids", "handshake", "water_fight", "reminder-hand",
    "a_happy_boy", "a_man_singing", "a_youngster", "grandpa", "martin_luther", "john_coltrane", "silvia_",
    "garmin", "gps_", "magelan", "spyglass", "calebasse", "canada_umbrella", "eclipse", "eiffel", "ayers_rock",
    "teide", "war_drum", "moon_charles", "mountain_seal", "mount_hood", "basque_patricia", "ukrainian_map_under",
    "arrow1_sergio", "bluepane", "cross_hand", "user_frederic", "reunion_", "lotion", "ink_ff77", "milimetered",
)  # fmt: skip

# Titles of clip art that do not say what is drawn, or say it in another language.
CLIPART_TITLES_LEFT_OUT = frozenset(
    {"al bar", "full bloom", "liberty", "man crystal", "my house", "scotch rollandin francesco", "sport", "video"}
)

# Keywords of emoji that are slang which not everybody wants to read.
KEYWORDS_LEFT_OUT = frozenset({"ass", "bae", "poo", "sexy", "turd"})
