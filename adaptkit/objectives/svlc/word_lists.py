"""Words of one kind that can stand for each other in a caption, written by hand; words of one line mean about the same.

The kinds are those of the paper (arXiv:2211.11733). Its own lists are not copied: one of them has a lost comma, another
a blank behind a word.
"""

from collections.abc import Iterator, Mapping, Sequence

WordLists = Mapping[str, Sequence[str]]  # kind -> words and phrases in lower case
Synonyms = Mapping[str, Sequence[frozenset[str]]]  # kind -> groups of words that mean about the same

_LINES: Mapping[str, str] = {
    "colour": """
        red, crimson, scarlet
        maroon, dark red
        pink, rose-coloured
        orange
        amber, golden
        yellow
        beige, cream-coloured, tan
        brown
        green
        olive, olive green
        dark green
        light green, lime green
        turquoise, teal
        blue
        navy blue, dark blue
        light blue, azure
        indigo
        purple, violet
        magenta
        white, ivory
        black
        grey, gray
        silver-coloured
        colourless, transparent
    """,
    "relation": """
        on, on top of, over, above, atop
        under, below, beneath, underneath
        in, inside, within
        outside, outside of
        in front of, before
        behind
        beside, next to, near, by, close to
        far from
        left of, to the left of
        right of, to the right of
        between
        around
        along
        across
        against
        through
        into
        out of
        towards
        away from
        with
        without
        holding, carrying, grasping
        wearing, dressed in
        riding
        driving
        pulling
        pushing
        eating
        drinking
        looking at, watching
        touching
        throwing
        catching
        kicking
        climbing
        chasing, following
        leading
        hanging from
        leaning on
        standing on
        sitting on
        lying on
        jumping over
        covered by
    """,
    "material": """
        wooden, wood
        metal, metallic
        iron
        steel
        copper
        bronze
        brass
        gold
        silver
        plastic
        rubber
        glass
        crystal
        ceramic, porcelain
        clay
        stone, rock
        marble
        granite
        brick
        concrete, cement
        paper
        cardboard
        leather
        cloth, fabric
        cotton
        wool, woollen
        silk
        denim
        straw
        bamboo
        ice
        snow
        sand
        wax
        bone
    """,
    "size": """
        small, little, tiny, miniature
        big, large, huge, giant, enormous, gigantic
        medium-sized, middle-sized
        long
        short
        tall, high
        low
        wide, broad
        narrow
        thick
        thin
        deep
        shallow
        life-sized
        oversized
        undersized
        pocket-sized
    """,
    "state": """
        open, opened
        closed, shut
        locked
        unlocked
        full, filled
        empty
        broken, cracked, damaged
        intact, undamaged
        repaired
        wet, soaked
        dry
        clean
        dirty, muddy
        new
        old
        young
        hot
        cold
        frozen
        melting
        burning
        steaming
        cooked
        raw
        fried
        roasted
        ripe
        unripe
        fresh
        rotten
        sliced
        whole
        folded
        unfolded
        raised
        lowered
        lit
        unlit
        bright
        dark
        straight
        bent
        round
        flat
        smooth
        rough
        sharp
        blunt
        soft
        hard
        striped
        spotted
        happy, smiling, grinning
        sad, crying, unhappy
        angry
        scared, fearful, worried
        tired, sleepy, weary
        sleeping, asleep
        awake
        sick
        healthy
        surprised
        calm
        running
        walking
        standing
        sitting
        lying
        flying
        swimming
        falling
        dancing
        alive
        dead
        sunny
        rainy
        cloudy
        snowy
        crowded
        deserted
        tied
        untied
    """,
}

KINDS = tuple(_LINES)


def _groups(lines: str) -> Iterator[tuple[str, ...]]:
    for line in lines.split("\n"):
        words = tuple(word for part in line.split(",") if (word := part.strip()))
        if words:
            yield words


SYNONYMS: Synonyms = {kind: tuple(frozenset(group) for group in _groups(lines)) for kind, lines in _LINES.items()}
WORDS: WordLists = {kind: tuple(word for group in _groups(lines) for word in group) for kind, lines in _LINES.items()}


def halves(lists: WordLists = WORDS, synonyms: Synonyms = SYNONYMS) -> tuple[WordLists, WordLists]:
    """Every list in two parts without a word in common, and without a synonym in common.

    Groups of synonyms go to the two parts in turn, in the order of the list. Negatives of one part can then be learnt
    from, and those of the other show whether what was learnt holds for words that nobody replaced.

    Example:
        ```python
        from adaptkit.objectives.svlc import halves

        first, second = halves({"colour": ("red", "crimson", "blue", "green")})
        assert first == {"colour": ("red", "crimson", "green")} and second == {"colour": ("blue",)}
        ```
    """
    parts: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = ({}, {})
    for kind, words in lists.items():
        group_of = {word: place for place, group in enumerate(synonyms.get(kind, ())) for word in group}
        keys = [group_of.get(word, word) for word in words]  # a word without synonyms is a group of its own
        turn = {key: place % 2 for place, key in enumerate(dict.fromkeys(keys))}
        for half, part in enumerate(parts):
            part[kind] = tuple(word for word, key in zip(words, keys, strict=True) if turn[key] == half)
    return parts
