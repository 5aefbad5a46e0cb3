"""Published tables that one command runs: their methods, protocols and recipes."""

import difflib
from dataclasses import dataclass

from trainers.report.publications import AVERAGE, PublishedRow, published_rows


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, with the settings in configs/paper/<method>_<protocol>.yaml."""

    paper: str  # Name and arXiv number.
    method: str  # The method of the paper.
    protocol: str
    # Other methods in the same table, on the same backbone.
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method}.{self.protocol}"

    @property
    def methods(self) -> tuple[str, ...]:
        return ("zero_shot", *self.others, self.method)

    def settings(self) -> dict[str, object]:
        """The table as settings of a bench."""
        return {"PROTOCOL": self.protocol, "RECIPE": "paper", "METHODS": list(self.methods)}

    def published(self) -> list[PublishedRow]:
        """The published lines that our recipe reproduces."""
        return [row for row in published_rows(self.protocol) if row.method == self.method and row.recipe]

    def describe(self) -> str:
        """The table in two lines: its name, and its published numbers."""
        rows = self.published()
        numbers = sum(len(measures) for row in rows for measures in row.values.values())
        recalled = sum(len(row.values[place]) for row in rows for place in row.unverified)
        shots = ", ".join(str(row.shots) for row in rows)
        headline = (
            "; ".join(
                ", ".join(f"{measure} {value:.2f}" for measure, value in row.values[AVERAGE].items())
                for row in rows[-1:]
            )
            .replace("new ", "novel ")
            .replace("all ", "")
            .replace("accuracy ", "")
        )
        doubt = f" ({recalled} of them recalled, not read in a source)" if recalled else ""
        return (
            f"{self.name:<32} {self.paper}\n{'':<32} {rows[0].backbone}, {shots} shots: {numbers} published numbers"
            f"{doubt}; average {'at 16 shots ' if len(rows) > 1 else ''}{headline}"
        )


PAPER_TABLES = (
    PaperTable("CoOp, arXiv:2109.01134, Figure 3", "coop", "few_shot", ("linear_probe",)),
    PaperTable("CoOp as CoCoOp's Table 1 has it, arXiv:2203.05557", "coop", "base_to_novel"),
    PaperTable("CoOp as CoCoOp's Table 2 has it, arXiv:2203.05557", "coop", "cross_dataset"),
    PaperTable("CoOp as CoCoOp's Table 3 has it, arXiv:2203.05557", "coop", "domain_generalization"),
    PaperTable("CoCoOp, arXiv:2203.05557, Table 1", "cocoop", "base_to_novel"),
    PaperTable("CoCoOp, arXiv:2203.05557, Table 2", "cocoop", "cross_dataset"),
    PaperTable("CoCoOp, arXiv:2203.05557, Table 3", "cocoop", "domain_generalization"),
    PaperTable("MaPLe, arXiv:2210.03117, Table 3", "maple", "base_to_novel"),
    PaperTable("MaPLe, arXiv:2210.03117, Table 4", "maple", "cross_dataset"),
    PaperTable("MaPLe, arXiv:2210.03117, Table 5", "maple", "domain_generalization"),
    PaperTable("CLIP-Adapter, arXiv:2110.04544", "clip_adapter", "few_shot"),
    PaperTable("Tip-Adapter, arXiv:2207.09519", "tip_adapter", "few_shot"),
    PaperTable("Tip-Adapter-F, arXiv:2207.09519", "tip_adapter_f", "few_shot"),
    PaperTable("GDA, arXiv:2402.04087", "gda", "few_shot"),
    PaperTable("GDA, arXiv:2402.04087", "gda", "base_to_novel"),
    PaperTable("CLIP-LoRA, arXiv:2405.18541", "clip_lora", "few_shot"),
    PaperTable("MMA, CVPR 2024", "mma", "base_to_novel"),
    PaperTable("MMRL, arXiv:2503.08497", "mmrl", "base_to_novel"),
    PaperTable("PromptSRC, arXiv:2307.06948, Table 3", "promptsrc", "base_to_novel"),
    PaperTable("PromptSRC, arXiv:2307.06948, Table 4", "promptsrc", "cross_dataset"),
    PaperTable("PromptSRC, arXiv:2307.06948, Table 5", "promptsrc", "domain_generalization"),
    PaperTable("PromptSRC, arXiv:2307.06948, appendix", "promptsrc", "few_shot"),
    PaperTable("TCP, arXiv:2311.18231", "tcp", "base_to_novel"),
)


def paper_table(name: str) -> PaperTable:
    """The table of a name.

    Raises:
        ValueError: if there is no such table; the message has the nearest names.
    """
    known = {table.name: table for table in PAPER_TABLES}
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.3)) or ", ".join(known)
        raise ValueError(f"no published table {name!r}; did you mean {near}? `adaptkit reproduce` lists them")
    return known[name]
