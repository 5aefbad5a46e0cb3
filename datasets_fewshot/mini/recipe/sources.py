"""The sources of all images of the embedded suite: package, exact version, licence, authors."""

from dataclasses import dataclass
from typing import Literal

Use = Literal["names", "train", "held_out", "icons"]
Kind = Literal["npm", "debian"]


@dataclass(frozen=True)
class Source:
    """One package of a registry and its licence."""

    key: str  # short name: the drawing family, or the icon set's prefix
    kind: Kind
    package: str
    version: str
    licence: str  # SPDX identifier
    authors: str
    use: Use  # "train": pre-training only; "held_out": few-shot data sets only

    @property
    def label(self) -> str:
        """Package and version, as written in records and notices."""
        return f"{self.package}@{self.version}"


def _emoji(key: str, package: str, version: str, licence: str, authors: str, use: Use) -> Source:
    return Source(key, "npm", package, version, licence, authors, use)


def _icons(prefix: str, version: str, licence: str, authors: str, use: Use = "icons") -> Source:
    return Source(f"icon-{prefix}", "npm", f"@iconify-json/{prefix}", version, licence, authors, use)


NAMES = _emoji("emojibase", "emojibase-data", "17.0.0", "MIT", "Miles Johnson", "names")

# Titles, descriptions and keywords of clip art; the drawings themselves are those of openclipart-png.
CLIPART_NAMES = Source(
    "openclipart-svg",
    "debian",
    "openclipart-svg",
    "1:0.18+dfsg-19",
    "LicenseRef-public-domain",
    "Open Clip Art Library contributors",
    "names",
)

# Pre-training sees these drawings. Variants of one vendor (noto, fluent) are the same drawings in other styles.
TRAIN = (
    _emoji("noto", "@iconify-json/noto", "1.2.9", "Apache-2.0", "Google Inc", "train"),
    _emoji("noto-mono", "@expo-google-fonts/noto-emoji", "0.4.7", "OFL-1.1", "Google Inc", "train"),
    _emoji("fluent", "@iconify-json/fluent-emoji", "1.2.7", "MIT", "Microsoft Corporation", "train"),
    _emoji("fluent-flat", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation", "train"),
    _emoji("fluent-mono", "@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Microsoft Corporation", "train"),
    _emoji("fluent-3d", "@lobehub/fluent-emoji-3d", "1.1.0", "MIT", "Microsoft Corporation, LobeHub", "train"),
    _emoji("fxemoji", "@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "Mozilla", "train"),
    _emoji("streamline", "@iconify-json/streamline-emojis", "1.2.4", "CC-BY-4.0", "Streamline", "train"),
    _emoji("circle-flags", "@iconify-json/circle-flags", "1.2.11", "MIT", "HatScripts", "train"),
    _emoji("flag", "@iconify-json/flag", "1.2.12", "MIT", "Panayiotis Lipiridis", "train"),
    _emoji("cif", "@iconify-json/cif", "1.2.7", "CC0-1.0", "creativeLabs Łukasz Holeczek", "train"),
)

# Only the few-shot data sets hold these drawings; pre-training never sees them.
HELD_OUT = (
    _emoji("emojitwo", "@iconify-json/emojione", "1.2.3", "CC-BY-4.0", "EmojiTwo contributors, Emoji One", "held_out"),
    _emoji(
        "emojitwo-mono",
        "@iconify-json/emojione-monotone",
        "1.2.1",
        "CC-BY-4.0",
        "EmojiTwo contributors, Emoji One",
        "held_out",
    ),
    _emoji("noto-v1", "@iconify-json/noto-v1", "1.2.5", "Apache-2.0", "Google Inc", "held_out"),
    _emoji("twemoji", "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "Twitter, Inc and other contributors", "held_out"),
    Source("symbola", "debian", "fonts-symbola", "2.60-1.1", "LicenseRef-Symbola-free", "George Douros", "held_out"),
    Source(
        "openclipart",
        "debian",
        "openclipart-png",
        "1:0.18+dfsg-19",
        "LicenseRef-public-domain",
        "Open Clip Art Library contributors",
        "held_out",
    ),
    Source(
        "fashion-mnist",
        "debian",
        "dataset-fashion-mnist",
        "0.0~git20200523.55506a9-1",
        "MIT",
        "Zalando SE",
        "held_out",
    ),
)

# An icon of these sets joins pre-training if its name is the name or a keyword of an emoji.
ICONS = (
    _icons("bxs", "1.2.3", "MIT", "Boxicons"),
    _icons("carbon", "1.2.29", "Apache-2.0", "IBM"),
    _icons("fa6-solid", "1.2.4", "CC-BY-4.0", "Dave Gandy"),
    _icons("famicons", "1.2.2", "MIT", "Family"),
    _icons("flat-color-icons", "1.2.3", "MIT", "Icons8"),
    _icons("fluent", "1.2.60", "MIT", "Microsoft Corporation"),
    _icons("fluent-color", "1.2.21", "MIT", "Microsoft Corporation"),
    _icons("fluent-mdl2", "1.2.1", "MIT", "Microsoft Corporation"),
    _icons("fontisto", "1.2.1", "MIT", "Kenan Gündoğan"),
    _icons("game-icons", "1.2.4", "CC-BY-3.0", "GameIcons"),
    _icons("guidance", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("healthicons", "1.2.13", "MIT", "Resolve to Save Lives"),
    _icons("hugeicons", "1.2.35", "MIT", "Hugeicons"),
    _icons("icon-park", "1.2.4", "Apache-2.0", "ByteDance"),
    _icons("iconoir", "1.2.11", "MIT", "Luca Burgio"),
    _icons("icons8", "1.2.1", "MIT", "Icons8"),
    _icons("ion", "1.2.7", "MIT", "Ben Sperry"),
    _icons("lucide", "1.2.137", "ISC", "Lucide Contributors"),
    _icons("lucide-lab", "1.2.3", "ISC", "Lucide Contributors"),
    _icons("maki", "1.2.5", "CC0-1.0", "Mapbox"),
    _icons("marketeq", "1.2.2", "MIT", "Marketeq"),
    _icons("material-symbols", "1.2.98", "Apache-2.0", "Google"),
    _icons("mdi", "1.2.3", "Apache-2.0", "Pictogrammers"),
    _icons("memory", "1.2.2", "Apache-2.0", "Pictogrammers"),
    _icons("meteocons", "1.2.4", "MIT", "Bas Milius"),
    _icons("mingcute", "1.2.8", "Apache-2.0", "MingCute Design"),
    _icons("ph", "1.2.2", "MIT", "Phosphor Icons"),
    _icons("pixel", "1.2.2", "CC-BY-4.0", "HackerNoon"),
    _icons("solar", "1.2.13", "CC-BY-4.0", "480 Design"),
    _icons("streamline-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-cyber-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-flex-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-freehand-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-kameleon-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-pixel", "1.2.0", "CC-BY-4.0", "Streamline"),
    _icons("streamline-plump-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-sharp-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-stickies-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-ultimate", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("streamline-ultimate-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    _icons("tabler", "1.2.41", "MIT", "Paweł Kuna"),
    _icons("temaki", "1.2.6", "CC0-1.0", "Bryan Housel"),
)

# Only the few-shot data set of icons holds these sets. None has the makers of a set above, or is made from one.
HELD_OUT_ICONS = (
    _icons("akar-icons", "1.2.7", "MIT", "Arturo Wibawa", "held_out"),
    _icons("ant-design", "1.2.9", "MIT", "HeskeyBaozi", "held_out"),
    _icons("basil", "1.2.4", "CC-BY-4.0", "Craftwork", "held_out"),
    _icons("bi", "1.2.7", "MIT", "The Bootstrap Authors", "held_out"),
    _icons("charm", "1.2.3", "MIT", "Jay Newey", "held_out"),
    _icons("ci", "1.2.2", "CC-BY-4.0", "Kryston Schwarze", "held_out"),
    _icons("cil", "1.2.3", "CC-BY-4.0", "creativeLabs Łukasz Holeczek", "held_out"),
    _icons("clarity", "1.2.4", "MIT", "VMware", "held_out"),
    _icons("ep", "1.2.4", "MIT", "Element Plus", "held_out"),
    _icons("eva", "1.2.3", "MIT", "Akveo", "held_out"),
    _icons("f7", "1.2.2", "MIT", "Vladimir Kharlampidi", "held_out"),
    _icons("fe", "1.2.4", "MIT", "Megumi Hano", "held_out"),
    _icons("flowbite", "1.2.7", "MIT", "Themesberg", "held_out"),
    _icons("gg", "1.2.2", "MIT", "Astrit", "held_out"),
    _icons("gravity-ui", "1.2.15", "MIT", "YANDEX LLC", "held_out"),
    _icons("grommet-icons", "1.2.4", "Apache-2.0", "Grommet", "held_out"),
    _icons("heroicons", "1.2.3", "MIT", "Refactoring UI Inc", "held_out"),
    _icons("humbleicons", "1.2.20", "MIT", "Jiří Zralý", "held_out"),
    _icons("iconamoon", "1.2.2", "CC-BY-4.0", "Dariush Habibpour", "held_out"),
    _icons("ix", "1.2.12", "MIT", "Siemens AG", "held_out"),
    _icons("jam", "1.2.3", "MIT", "Michael Amprimo", "held_out"),
    _icons("lets-icons", "1.2.2", "CC-BY-4.0", "Leonid Tsvetkov", "held_out"),
    _icons("lineicons", "1.2.6", "MIT", "Lineicons", "held_out"),
    _icons("lsicon", "1.2.5", "MIT", "Wis Design", "held_out"),
    _icons("mage", "1.2.4", "Apache-2.0", "MageIcons", "held_out"),
    _icons("majesticons", "1.2.5", "MIT", "Gerrit Halfmann", "held_out"),
    _icons("meteor-icons", "1.2.8", "MIT", "zkreations", "held_out"),
    _icons("mynaui", "1.2.19", "MIT", "Praveen Juge", "held_out"),
    _icons("nimbus", "1.2.1", "MIT", "Linkedstore S.A.", "held_out"),
    _icons("octicon", "1.2.36", "MIT", "GitHub", "held_out"),
    _icons("pajamas", "1.2.15", "MIT", "GitLab B.V.", "held_out"),
    _icons("pepicons-pop", "1.2.4", "CC-BY-4.0", "CyCraft", "held_out"),
    _icons("pixelarticons", "1.2.9", "MIT", "Gerrit Halfmann", "held_out"),
    _icons("prime", "1.2.5", "MIT", "PrimeTek", "held_out"),
    _icons("proicons", "1.2.20", "MIT", "ProCode", "held_out"),
    _icons("qlementine-icons", "1.2.16", "MIT", "Olivier Cléro", "held_out"),
    _icons("quill", "1.2.4", "MIT", "Casper Lourens", "held_out"),
    _icons("ri", "1.2.10", "Apache-2.0", "Remix Design", "held_out"),
    _icons("simple-line-icons", "1.2.1", "MIT", "Sabbir Ahmed", "held_out"),
    _icons("stash", "1.2.4", "MIT", "Pingback LLC", "held_out"),
    _icons("tdesign", "1.2.19", "MIT", "TDesign", "held_out"),
    _icons("teenyicons", "1.2.2", "MIT", "smhmd", "held_out"),
    _icons("uil", "1.2.3", "Apache-2.0", "Iconscout", "held_out"),
    _icons("uiw", "1.2.4", "MIT", "liwen0526", "held_out"),
    _icons("vaadin", "1.2.1", "Apache-2.0", "Vaadin", "held_out"),
    _icons("wpf", "1.2.0", "MIT", "Icons8", "held_out"),
    _icons("zondicons", "1.2.2", "MIT", "Steve Schoger", "held_out"),
)

SOURCES = (NAMES, CLIPART_NAMES, *TRAIN, *HELD_OUT, *ICONS, *HELD_OUT_ICONS)


def source(key: str) -> Source:
    """Look up the source called `key`.

    Raises:
        KeyError: if there is no such source.
    """
    return {entry.key: entry for entry in SOURCES}[key]
