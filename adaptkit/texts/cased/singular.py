"""The singular of an English plural, for the words that the filter chain asks about.

Departure: the released code asks the package inflect. Here lists and rules say the same of almost all nouns, and no
package is needed. `tests/parity/fixtures/cased/singulars.json` holds inflect's answers for a sample of words.
"""

KEPT_ENDINGS = ("ss", "us", "is", "ies", "oes")  # words with these stay as they are, plural or not

NO_PLURALS = (
    "s biceps clippers contretemps corps diabetes forceps gallows headquarters herpes hijinks innings jackanapes "
    "measles mews mumps news pajamas pincers pliers proceedings pyjamas quadriceps scissors shears testes triceps "
    "trousers breeches britches"
)
# What a plural in the last column of each line has instead of its ending, in words that are no rule's.
ENDINGS: tuple[tuple[str, str, str], ...] = (
    ("ses", "sis", "crises amanuenses catharses sepses synopses emphases metastases oases periphrases psoriases"),
    ("ses", "sis", "analyses catalyses dialyses electrolyses hydrolyses paralyses psychoanalyses urinalyses"),
    ("ses", "sis", "apotheoses arterioscleroses atheroscleroses cirrhoses diagnoses halitoses hypnoses metamorphoses"),
    ("ses", "sis", "mitoses mononucleoses narcoses necroses neuroses osmoses osteoporoses prognoses psychoses"),
    ("ses", "sis", "scleroses scolioses silicoses symbioses thromboses tuberculoses amniocenteses antitheses diereses"),
    ("ses", "sis", "exegeses geneses hypotheses hystereses nemeses parentheses photosyntheses prostheses syntheses"),
    ("ses", "sis", "theses telekineses psychokineses parthenogeneses"),
    (
        "es",
        "",
        "asbestoses bathoses chaoses cosmoses ethoses pathoses rhinoceroses aliases atlases biases canvases gases",
    ),
    ("es", "", "sassafrases yeses lenses quartzes topazes acropolises aegises cannabises chrysalises clematises"),
    ("es", "", "clitorises daises epidermises ibises irises mantises marquises metropolises necropolises pelvises"),
    ("es", "", "penises portcullises trellises amaryllises hubrises ephemerises"),
    ("ves", "f", "eaves greaves heaves"),
    ("ices", "ex", "codices silices"),
    ("ices", "ix", "helices radices"),
    ("s", "", "aches avalanches backaches bellyaches caches cloches creches douches earaches headaches heartaches"),
    ("s", "", "microfiches niches pastiches psyches quiches stomachaches toothaches tranches annexes axes pickaxes"),
    ("s", "", "bouillabaisses crevasses demitasses impasses mousses posses olives twelves uses abuses disuses excuses"),
    (
        "s",
        "",
        "fuses hypotenuses masseuses misuses muses overuses recluses refuses reuses ruses chartreuses chanteuses",
    ),
    ("es", "", "buzzes fizzes frizzes razzes"),
)
UNCHANGED = frozenset(NO_PLURALS.split())
IRREGULAR = {plural: plural.removesuffix(old) + new for old, new, plurals in ENDINGS for plural in plurals.split()} | {
    "ours": "mine"
}

# Nouns in -f and -fe; all others with a plural in -ves end in -ve.
F_NOUNS = ("elf", "half", "calf", "hoof", "leaf", "loaf", "scarf", "sheaf", "thief", "wolf", "dwarf", "wharf")
FE_NOUNS = ("knife", "life", "wife")


def singular(word: str) -> str:
    """A lower-case word in the singular, if it ends as plurals do; any other word as it is.

    Example:
        ```python
        from adaptkit.texts.cased.singular import singular

        assert [singular(word) for word in ("dogs", "glasses", "wolves", "bus", "berries")] == [
            "dog", "glass", "wolf", "bus", "berries",
        ]
        ```
    """
    if not word.endswith("s") or word.endswith(KEPT_ENDINGS) or word in UNCHANGED:
        return word
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ves"):
        return _of_ves(word)
    if word.endswith("zzes"):
        return word[:-3]  # quizzes
    if word.endswith(("sses", "shes", "ches", "xes", "itises")):
        return word[:-2]
    if word.endswith("uses") and not word.endswith(("ouses", "auses")):
        return word[:-2]  # viruses, and neither houses nor causes
    return word[:-1]


def _of_ves(word: str) -> str:
    stem = word[:-3]
    if (stem + "f").endswith(F_NOUNS):
        return stem + "f"
    return stem + "fe" if (stem + "fe").endswith(FE_NOUNS) else word[:-1]
