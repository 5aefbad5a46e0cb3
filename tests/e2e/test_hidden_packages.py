"""A folder with a `trainers` and a `configs` of its own, as repositories that descend from CoOp have them."""

import pytest

FIT = """
try:
    adaptkit.fit("coop", "nowhere")
except (FileNotFoundError, ImportError) as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def run(tmp_path, started):
    """Run Python code in such a folder: code -> what it prints."""
    for name in ("trainers", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"THEIRS = '{name}'\n")

    def start(code: str) -> str:
        answer = started.run_code(code, tmp_path)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return start


def test_our_packages_are_found_beside_our_own_modules(run):
    printed = run(f"import adaptkit\n{FIT}\nimport trainers\nprint(hasattr(trainers, 'THEIRS'))")
    assert printed.startswith("FileNotFoundError there is nothing at 'nowhere'")
    assert printed.endswith("False\n")


def test_a_package_that_hides_ours_is_named(run):
    printed = run(f"import trainers, adaptkit\nassert trainers.THEIRS\n{FIT}")
    assert printed.startswith("ImportError ")
    assert "is imported as 'trainers' and hides adaptkit's own" in printed
